"""The migration that brought further answers: see `schema`, which lists them all."""

from __future__ import annotations

FURTHER = """
CREATE TABLE further (
    attempt INTEGER PRIMARY KEY REFERENCES attempt (pk),
    kind TEXT NOT NULL CHECK (kind IN ('continued', 'retried', 'anew')),
    max_tokens INTEGER NOT NULL,
    stale INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    reasoning_tokens INTEGER,
    cached_tokens INTEGER,
    cost REAL,
    latency REAL NOT NULL,
    server_model TEXT NOT NULL,
    made_at REAL NOT NULL,
    payment INTEGER REFERENCES payment (pk)
);
CREATE TABLE further_text (
    attempt INTEGER PRIMARY KEY REFERENCES further (attempt),
    content NOT NULL,
    reasoning NOT NULL
);
CREATE TABLE cut_tokens (
    attempt INTEGER PRIMARY KEY REFERENCES attempt (pk),
    ids NOT NULL
);
ALTER TABLE checker ADD COLUMN further_of INTEGER REFERENCES checker (pk);
CREATE VIEW answer AS
SELECT a.pk, a.setting, a.question, a.sample,
       coalesce((SELECT f.finish_reason FROM further f WHERE f.attempt = a.pk AND f.kind <> 'anew'), a.finish_reason)
           AS finish_reason,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT a.prompt_tokens + f.prompt_tokens FROM further f WHERE f.attempt = a.pk), a.prompt_tokens)
           AS prompt_tokens,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT CASE f.kind WHEN 'continued' THEN a.completion_tokens + f.completion_tokens WHEN 'retried'
            THEN f.completion_tokens ELSE a.completion_tokens END FROM further f WHERE f.attempt = a.pk),
           a.completion_tokens) AS completion_tokens,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT a.completion_tokens + f.completion_tokens FROM further f WHERE f.attempt = a.pk),
           a.completion_tokens) AS written_tokens,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT CASE f.kind WHEN 'continued' THEN a.reasoning_tokens + f.reasoning_tokens WHEN 'retried'
            THEN f.reasoning_tokens ELSE a.reasoning_tokens END FROM further f WHERE f.attempt = a.pk),
           a.reasoning_tokens) AS reasoning_tokens,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT a.cached_tokens + f.cached_tokens FROM further f WHERE f.attempt = a.pk), a.cached_tokens)
           AS cached_tokens,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = a.pk),
           (SELECT iif(a.cost IS NULL AND f.cost IS NULL, NULL, coalesce(a.cost, 0) + coalesce(f.cost, 0))
            FROM further f WHERE f.attempt = a.pk), a.cost) AS cost,
       a.latency + coalesce((SELECT f.latency FROM further f WHERE f.attempt = a.pk), 0) AS latency,
       a.server_model, a.made_at, (SELECT f.kind FROM further f WHERE f.attempt = a.pk) AS further
FROM attempt a;
CREATE VIEW answer_text AS
SELECT t.attempt,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = t.attempt AND f.kind <> 'anew'),
           (SELECT whole_content(f.kind, t.content, t.reasoning, u.content, u.reasoning) FROM further f
            CROSS JOIN further_text u ON u.attempt = f.attempt WHERE f.attempt = t.attempt), t.content) AS content,
       iif(EXISTS (SELECT 1 FROM further f WHERE f.attempt = t.attempt AND f.kind <> 'anew'),
           (SELECT whole_reasoning(f.kind, t.content, t.reasoning, u.content, u.reasoning) FROM further f
            CROSS JOIN further_text u ON u.attempt = f.attempt WHERE f.attempt = t.attempt), t.reasoning) AS reasoning
FROM attempt_text t;
CREATE VIEW fresh AS
SELECT v.* FROM verdict v
WHERE v.checker > coalesce((SELECT f.stale FROM further f WHERE f.attempt = v.attempt), 0);
DROP VIEW attempts;
DROP VIEW verdicts;
DROP VIEW chains;
CREATE VIEW attempts AS
SELECT q.id || '-' || s.id || '-' || a.sample AS id, q.id AS question, s.role, s.model, a.sample,
       thinking_of(t.content, t.reasoning) AS thinking, answer_of(t.content, t.reasoning) AS answer,
       unpack(t.content) AS content, unpack(t.reasoning) AS reasoning, a.finish_reason, a.prompt_tokens,
       a.completion_tokens, a.reasoning_tokens, a.cached_tokens, a.cost, a.latency, a.server_model, a.made_at,
       s.sampling, a.further, a.written_tokens
FROM answer a JOIN answer_text t ON t.attempt = a.pk JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting;
CREATE VIEW furthers AS
SELECT q.id || '-' || s.id || '-' || a.sample AS attempt, q.id AS question, s.role, s.model, f.kind, f.max_tokens,
       unpack(t.content) AS first_content, unpack(t.reasoning) AS first_reasoning,
       a.prompt_tokens AS first_prompt_tokens, a.completion_tokens AS first_completion_tokens, a.cost AS first_cost,
       unpack(u.content) AS content, unpack(u.reasoning) AS reasoning, f.finish_reason, f.prompt_tokens,
       f.completion_tokens, f.reasoning_tokens, f.cached_tokens, f.cost, f.latency, f.server_model, f.made_at
FROM further f JOIN further_text u ON u.attempt = f.attempt JOIN attempt a ON a.pk = f.attempt
JOIN attempt_text t ON t.attempt = a.pk JOIN question q ON q.pk = a.question JOIN setting s ON s.pk = a.setting;
CREATE VIEW verdicts AS
SELECT q.id || '-' || s.id || '-' || a.sample AS attempt, q.id AS question, s.role, s.model, v.outcome, v.reason,
       unpack(coalesce(x.answer, v.answer)) AS answer, q.reference, v.found_by, c.name AS checker, c.version, c.round,
       v.passed, v.total, unpack(x.detail) AS detail,
       v.checker <= coalesce((SELECT f.stale FROM further f WHERE f.attempt = v.attempt), 0) AS stale
FROM verdict v JOIN attempt a ON a.pk = v.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting JOIN checker c ON c.pk = v.checker
LEFT JOIN verdict_text x ON x.attempt = v.attempt AND x.checker = v.checker;
CREATE VIEW chains AS
SELECT d.name AS draw, q.id AS question, q.id || '-' || s.id || '-' || a.sample AS attempt, c.level, c.kept, c.reason,
       s.model AS teacher, a.completion_tokens, a.cost
FROM chain c JOIN draw d ON d.pk = c.draw JOIN answer a ON a.pk = c.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting;
"""
"""The one further request for an answer that was cut off, beside the first answer, which stays as it was.

`answer`, `answer_text` and `fresh` are what all readers of attempts read: an attempt's answer as it is now, and the
verdicts on it. Tokens of the prompt, cached ones and cost are those of both requests, `completion_tokens` and
`reasoning_tokens` those of the answer, `written_tokens` all that were written. `stale` is the key of the newest checker
that had judged the first answer; a checker's row with `further_of` judges anew what that one had judged too early.
`anew` is what a server wrote that was asked to go on and began again: paid for and kept, and read by nobody."""
