"""The tables of a library, as numbered migrations.

A migration is never edited once it is released; a change of the tables is a new one at the end. The file's
`user_version` is the number of migrations it has had, and its `application_id` says that it is ours.

Two kinds of table. Those up to `fault`, and `further`, hold what was read, paid for or computed at a cost: rows are
added, never edited; `reservation` alone empties again.
`grade` and `chain` are derived from them and can be written again at any time. The states of `batch` and its items are
bookkeeping, and move on.
Narrow columns and long texts are apart: a count over millions of attempts reads no text.
"""

from __future__ import annotations

from gradatim.library.further_tables import FURTHER

APPLICATION_ID = 0x47524144  # "GRAD"

_FIRST = """
CREATE TABLE question_set (
    pk INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    purpose TEXT NOT NULL CHECK (purpose IN ('pool', 'eval'))
);
CREATE TABLE question (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL,
    reference TEXT NOT NULL,
    source TEXT NOT NULL
);
CREATE TABLE question_text (
    question INTEGER PRIMARY KEY REFERENCES question (pk),
    prompt NOT NULL,
    solution NOT NULL,
    extra NOT NULL
);
CREATE TABLE member (
    question_set INTEGER NOT NULL REFERENCES question_set (pk),
    question INTEGER NOT NULL REFERENCES question (pk),
    PRIMARY KEY (question_set, question)
) WITHOUT ROWID;
CREATE TABLE exclusion (
    question INTEGER NOT NULL REFERENCES question (pk),
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (question, reason)
) WITHOUT ROWID;
CREATE TABLE dropped (
    pk INTEGER PRIMARY KEY,
    question_set INTEGER NOT NULL REFERENCES question_set (pk),
    row_id TEXT NOT NULL,
    place TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    body NOT NULL,
    UNIQUE (question_set, row_id)
);
CREATE TABLE ingested (
    question_set INTEGER NOT NULL REFERENCES question_set (pk),
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    preset TEXT NOT NULL,
    PRIMARY KEY (question_set, fingerprint)
) WITHOUT ROWID;
CREATE TABLE near_band (
    band INTEGER NOT NULL,
    question INTEGER NOT NULL,
    PRIMARY KEY (band, question)
) WITHOUT ROWID;

CREATE TABLE setting (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    sampling TEXT NOT NULL
);
CREATE TABLE attempt (
    pk INTEGER PRIMARY KEY,
    setting INTEGER NOT NULL REFERENCES setting (pk),
    question INTEGER NOT NULL REFERENCES question (pk),
    sample INTEGER NOT NULL,
    finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    reasoning_tokens INTEGER,
    cached_tokens INTEGER,
    cost REAL,
    latency REAL NOT NULL,
    server_model TEXT NOT NULL,
    made_at REAL NOT NULL,
    UNIQUE (setting, question, sample)
);
CREATE TABLE attempt_text (
    attempt INTEGER PRIMARY KEY REFERENCES attempt (pk),
    content NOT NULL,
    reasoning NOT NULL
);

CREATE TABLE checker (
    pk INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    round INTEGER NOT NULL,
    UNIQUE (name, version, round)
);
CREATE TABLE verdict (
    attempt INTEGER NOT NULL REFERENCES attempt (pk),
    checker INTEGER NOT NULL REFERENCES checker (pk),
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    answer NOT NULL,
    found_by TEXT NOT NULL,
    PRIMARY KEY (attempt, checker)
) WITHOUT ROWID;
CREATE TABLE prm (
    pk INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    UNIQUE (name, version)
);
CREATE TABLE score (
    attempt INTEGER NOT NULL REFERENCES attempt (pk),
    prm INTEGER NOT NULL REFERENCES prm (pk),
    mean REAL,
    reason TEXT NOT NULL,
    steps TEXT NOT NULL,
    PRIMARY KEY (attempt, prm)
) WITHOUT ROWID;
CREATE TABLE fault (
    pk INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    boundary TEXT NOT NULL,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    question INTEGER REFERENCES question (pk),
    setting INTEGER REFERENCES setting (pk),
    sample INTEGER,
    attempt INTEGER REFERENCES attempt (pk),
    at REAL NOT NULL
);

CREATE TABLE grading (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    setting INTEGER NOT NULL REFERENCES setting (pk),
    prm INTEGER REFERENCES prm (pk),
    rule TEXT NOT NULL,
    rule_settings TEXT NOT NULL
);
CREATE TABLE grade (
    grading INTEGER NOT NULL REFERENCES grading (pk),
    question INTEGER NOT NULL REFERENCES question (pk),
    level INTEGER,
    difficulty REAL,
    low REAL,
    high REAL,
    correct INTEGER NOT NULL,
    wrong INTEGER NOT NULL,
    undecided INTEGER NOT NULL,
    score REAL,
    reason TEXT NOT NULL,
    PRIMARY KEY (grading, question)
) WITHOUT ROWID;
CREATE INDEX grade_level ON grade (grading, level, question);

CREATE TABLE draw (
    pk INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    grading INTEGER NOT NULL REFERENCES grading (pk),
    size INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    mix TEXT NOT NULL,
    settings TEXT NOT NULL,
    quotas TEXT NOT NULL
);
CREATE TABLE draw_item (
    draw INTEGER NOT NULL REFERENCES draw (pk),
    level INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    question INTEGER NOT NULL REFERENCES question (pk),
    PRIMARY KEY (draw, level, rank)
) WITHOUT ROWID;
CREATE UNIQUE INDEX draw_item_question ON draw_item (draw, question);
CREATE TABLE chain (
    draw INTEGER NOT NULL REFERENCES draw (pk),
    attempt INTEGER NOT NULL REFERENCES attempt (pk),
    level INTEGER NOT NULL,
    kept INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (draw, attempt)
) WITHOUT ROWID;
CREATE TABLE curation (
    draw INTEGER PRIMARY KEY REFERENCES draw (pk),
    settings TEXT NOT NULL
);

CREATE VIEW questions AS
SELECT q.id, q.domain, unpack(t.prompt) AS prompt, q.reference, unpack(t.solution) AS solution, q.source,
       unpack(t.extra) AS extra,
       (SELECT group_concat(s.name) FROM question_set s CROSS JOIN member m ON m.question_set = s.pk
        AND m.question = q.pk) AS sets,
       (SELECT group_concat(reason) FROM exclusion e WHERE e.question = q.pk) AS excluded
FROM question q JOIN question_text t ON t.question = q.pk;
CREATE VIEW attempts AS
SELECT q.id || '-' || s.id || '-' || a.sample AS id, q.id AS question, s.role, s.model, a.sample,
       thinking_of(t.content, t.reasoning) AS thinking, answer_of(t.content, t.reasoning) AS answer,
       unpack(t.content) AS content, unpack(t.reasoning) AS reasoning, a.finish_reason, a.prompt_tokens,
       a.completion_tokens, a.reasoning_tokens, a.cached_tokens, a.cost, a.latency, a.server_model, a.made_at,
       s.sampling
FROM attempt a JOIN attempt_text t ON t.attempt = a.pk JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting;
CREATE VIEW verdicts AS
SELECT q.id || '-' || s.id || '-' || a.sample AS attempt, q.id AS question, s.role, s.model, v.outcome, v.reason,
       unpack(v.answer) AS answer, q.reference, v.found_by, c.name AS checker, c.version, c.round
FROM verdict v JOIN attempt a ON a.pk = v.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting JOIN checker c ON c.pk = v.checker;
CREATE VIEW scores AS
SELECT q.id || '-' || s.id || '-' || a.sample AS attempt, q.id AS question, s.model, p.name AS prm, x.mean, x.reason,
       x.steps, p.version
FROM score x JOIN attempt a ON a.pk = x.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting JOIN prm p ON p.pk = x.prm;
CREATE VIEW grades AS
SELECT q.id AS question, g.model, g.rule, x.level, x.difficulty, x.low, x.high, x.correct, x.wrong, x.undecided,
       x.score, x.reason, g.id AS grading
FROM grade x JOIN grading g ON g.pk = x.grading JOIN question q ON q.pk = x.question;
CREATE VIEW draws AS
SELECT d.name AS draw, i.level, i.rank, q.id AS question, g.model, g.rule
FROM draw_item i JOIN draw d ON d.pk = i.draw JOIN question q ON q.pk = i.question JOIN grading g ON g.pk = d.grading;
CREATE VIEW chains AS
SELECT d.name AS draw, q.id AS question, q.id || '-' || s.id || '-' || a.sample AS attempt, c.level, c.kept, c.reason,
       s.model AS teacher, a.completion_tokens, a.cost
FROM chain c JOIN draw d ON d.pk = c.draw JOIN attempt a ON a.pk = c.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting;
CREATE VIEW faults AS
SELECT f.stage, f.boundary, f.reason, f.message, q.id AS question, s.model, f.sample, f.at
FROM fault f LEFT JOIN question q ON q.pk = f.question LEFT JOIN setting s ON s.pk = f.setting;
CREATE VIEW drops AS
SELECT s.name AS "set", d.place, d.reason, d.detail, unpack(d.body) AS row
FROM dropped d JOIN question_set s ON s.pk = d.question_set;
"""

_TURN = "ALTER TABLE grading ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;"
"""Counts up with every `grade`: who goes back to an earlier rule means that one, not the one that was new last."""

_TRAINING = """
CREATE TABLE training (
    pk INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    base TEXT NOT NULL,
    draw INTEGER REFERENCES draw (pk),
    settings TEXT NOT NULL,
    chains INTEGER NOT NULL,
    replayed INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    folder TEXT NOT NULL,
    made_at REAL NOT NULL
);
CREATE TABLE training_step (
    training INTEGER NOT NULL REFERENCES training (pk),
    step INTEGER NOT NULL,
    epoch REAL NOT NULL,
    loss REAL NOT NULL,
    learning_rate REAL NOT NULL,
    tokens INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (training, step)
) WITHOUT ROWID;
CREATE VIEW trainings AS
SELECT t.id, t.model, t.base, d.name AS draw, t.chains, t.replayed, t.steps,
       (SELECT max(step) FROM training_step s WHERE s.training = t.pk) AS done, t.folder, t.settings, t.made_at
FROM training t LEFT JOIN draw d ON d.pk = t.draw;
CREATE VIEW training_steps AS
SELECT t.id AS training, t.model, s.step, s.epoch, s.loss, s.learning_rate, s.tokens, s.at
FROM training_step s JOIN training t ON t.pk = s.training;
"""
"""A training is named by what it is made from, so the same examples, settings and base go on where they stopped.

`tokens` counts those of answers, on which the loss is, up to and with the step."""

_CODE = """
CREATE TABLE suite (
    question INTEGER PRIMARY KEY REFERENCES question (pk),
    body NOT NULL
);
ALTER TABLE verdict ADD COLUMN passed INTEGER;
ALTER TABLE verdict ADD COLUMN total INTEGER;
CREATE TABLE verdict_text (
    attempt INTEGER NOT NULL,
    checker INTEGER NOT NULL,
    answer NOT NULL,
    detail NOT NULL,
    PRIMARY KEY (attempt, checker),
    FOREIGN KEY (attempt, checker) REFERENCES verdict (attempt, checker)
) WITHOUT ROWID;
ALTER TABLE grade ADD COLUMN tests REAL;
DROP VIEW questions;
DROP VIEW verdicts;
DROP VIEW grades;
CREATE VIEW questions AS
SELECT q.id, q.domain, unpack(t.prompt) AS prompt, q.reference, unpack(t.solution) AS solution, q.source,
       unpack(t.extra) AS extra,
       (SELECT group_concat(s.name) FROM question_set s CROSS JOIN member m ON m.question_set = s.pk
        AND m.question = q.pk) AS sets,
       (SELECT group_concat(reason) FROM exclusion e WHERE e.question = q.pk) AS excluded,
       (SELECT unpack(u.body) FROM suite u WHERE u.question = q.pk) AS tests
FROM question q JOIN question_text t ON t.question = q.pk;
CREATE VIEW verdicts AS
SELECT q.id || '-' || s.id || '-' || a.sample AS attempt, q.id AS question, s.role, s.model, v.outcome, v.reason,
       unpack(coalesce(x.answer, v.answer)) AS answer, q.reference, v.found_by, c.name AS checker, c.version, c.round,
       v.passed, v.total, unpack(x.detail) AS detail
FROM verdict v JOIN attempt a ON a.pk = v.attempt JOIN question q ON q.pk = a.question
JOIN setting s ON s.pk = a.setting JOIN checker c ON c.pk = v.checker
LEFT JOIN verdict_text x ON x.attempt = v.attempt AND x.checker = v.checker;
CREATE VIEW grades AS
SELECT q.id AS question, g.model, g.rule, x.level, x.difficulty, x.low, x.high, x.correct, x.wrong, x.undecided,
       x.score, x.reason, g.id AS grading, x.tests
FROM grade x JOIN grading g ON g.pk = x.grading JOIN question q ON q.pk = x.question;
"""
"""Code questions: their tests, how many of them a program passed, and what the checker has to say of it.

A verdict with a program or a detail has both in `verdict_text`, and no answer of its own: counting verdicts reads no
program. A grade's `tests` is the share of tests that wrong programs passed."""

_CALIBRATION = """
CREATE TABLE calibration (
    pk INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    setting INTEGER NOT NULL REFERENCES setting (pk),
    rates INTEGER NOT NULL REFERENCES setting (pk),
    prm INTEGER NOT NULL REFERENCES prm (pk),
    method TEXT NOT NULL,
    cuts TEXT NOT NULL,
    questions INTEGER NOT NULL,
    correlation_all TEXT NOT NULL,
    correlation_wrong TEXT NOT NULL,
    made_at REAL NOT NULL
);
CREATE VIEW calibrations AS
SELECT c.name, c.model, s.id AS setting, r.id AS rates, p.name AS prm, c.method, c.cuts, c.questions,
       c.correlation_all, c.correlation_wrong, c.made_at
FROM calibration c JOIN setting s ON s.pk = c.setting JOIN setting r ON r.pk = c.rates JOIN prm p ON p.pk = c.prm;
"""
"""`setting` is whose attempts are graded, `rates` whose give the pass rates; cuts and correlations are JSON."""

_LEDGER = """
CREATE TABLE account (
    pk INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    role TEXT NOT NULL,
    model TEXT NOT NULL,
    setting INTEGER REFERENCES setting (pk)
);
CREATE TABLE reservation (
    pk INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL REFERENCES account (pk),
    owner TEXT NOT NULL,
    question INTEGER REFERENCES question (pk),
    level INTEGER,
    prompt INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    pico INTEGER,
    at REAL NOT NULL
);
CREATE TABLE payment (
    pk INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES account (pk),
    why TEXT NOT NULL,
    question INTEGER REFERENCES question (pk),
    level INTEGER,
    reserved_tokens INTEGER NOT NULL,
    reserved_pico INTEGER,
    prompt INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    assumed INTEGER NOT NULL,
    pico INTEGER,
    at REAL NOT NULL
);
ALTER TABLE attempt ADD COLUMN payment INTEGER REFERENCES payment (pk);
CREATE VIEW ledger AS
SELECT a.stage, a.role, a.model, s.id AS setting, p.level, q.id AS question, p.why, p.reserved_tokens, p.prompt,
       p.cached, p.completion, p.assumed, p.reserved_pico / 1e12 AS reserved_money, p.pico / 1e12 AS money, p.at
FROM payment p JOIN account a ON a.pk = p.account LEFT JOIN setting s ON s.pk = a.setting
LEFT JOIN question q ON q.pk = p.question
UNION ALL
SELECT a.stage, a.role, a.model, s.id, r.level, q.id, 'open', r.prompt + r.completion, r.prompt, 0, r.completion,
       r.prompt + r.completion, r.pico / 1e12, r.pico / 1e12, r.at
FROM reservation r JOIN account a ON a.pk = r.account LEFT JOIN setting s ON s.pk = a.setting
LEFT JOIN question q ON q.pk = r.question;
"""
"""Money: what requests under way may cost (`reservation`), and what each that has ended did (`payment`).

A reservation is the one row that is ever removed, in the transaction that writes the payment in its place; its key is
never used again. `owner` is empty where it dies with the process that writes the library. `pico` is money in 1e-12,
null where no price was known; `assumed` are tokens that no server counted. An attempt without a `payment` is from
before, or was bought without books.
"""

_AGGREGATION = """
ALTER TABLE calibration ADD COLUMN aggregation TEXT NOT NULL DEFAULT 'mean';
DROP VIEW calibrations;
CREATE VIEW calibrations AS
SELECT c.name, c.model, s.id AS setting, r.id AS rates, p.name AS prm, c.method, c.cuts, c.questions,
       c.correlation_all, c.correlation_wrong, c.made_at, c.aggregation
FROM calibration c JOIN setting s ON s.pk = c.setting JOIN setting r ON r.pk = c.rates JOIN prm p ON p.pk = c.prm;
"""
"""How an attempt's step scores became the one number that the cuts are for."""

_BATCHES = """
CREATE TABLE batch (
    pk INTEGER PRIMARY KEY,
    marker TEXT NOT NULL UNIQUE,
    setting INTEGER NOT NULL REFERENCES setting (pk),
    stage TEXT NOT NULL,
    base_url TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'uploaded', 'submitted', 'collected', 'dropped', 'forgotten')),
    status TEXT NOT NULL,
    input_file TEXT NOT NULL,
    server_id TEXT NOT NULL,
    made_at REAL NOT NULL,
    changed_at REAL NOT NULL
);
CREATE TABLE batch_item (
    batch INTEGER NOT NULL REFERENCES batch (pk),
    question INTEGER NOT NULL REFERENCES question (pk),
    sample INTEGER NOT NULL,
    line INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (batch, question, sample)
) WITHOUT ROWID;
CREATE VIEW batches AS
SELECT b.marker, b.server_id AS id, s.role, s.model, b.stage, b.state, b.status,
       (SELECT count(*) FROM batch_item i WHERE i.batch = b.pk) AS requests,
       (SELECT count(*) FROM batch_item i WHERE i.batch = b.pk AND i.outcome = 'answered') AS answered,
       (SELECT count(*) FROM batch_item i WHERE i.batch = b.pk AND i.outcome NOT IN ('', 'answered')) AS failed,
       b.base_url, b.input_file, b.made_at, b.changed_at
FROM batch b JOIN setting s ON s.pk = b.setting;
CREATE VIEW batch_items AS
SELECT b.marker AS batch, q.id AS question, s.model, i.sample, i.line, i.tries, i.outcome
FROM batch_item i JOIN batch b ON b.pk = i.batch JOIN question q ON q.pk = i.question
JOIN setting s ON s.pk = b.setting;
"""
"""Requests that a server answers in its own time. A batch is written down before anything is sent, and followed by
`state`; `status` is what the server said last. An item's `outcome` is empty until its batch is collected."""

MIGRATIONS: tuple[str, ...] = (_FIRST, _TURN, _TRAINING, _CODE, _CALIBRATION, _LEDGER, _AGGREGATION, _BATCHES, FURTHER)
