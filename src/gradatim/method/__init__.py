"""The paper as pure functions: levels, mixes, quotas, draws, filters. No files, no models, no clock."""
