-- What the analyzer found, one row per run, metric and variant. A run counts
-- once its line in experiment_runs stands, which is written last: a run that
-- was cut short is never seen.
CREATE TABLE IF NOT EXISTS experiment_results_raw (
    project         LowCardinality(String),
    experiment      LowCardinality(String),
    run             UUID,
    metric          LowCardinality(String),
    kind            LowCardinality(String),
    variant         LowCardinality(String),
    is_control      Bool,
    entities        UInt64,
    set_aside       UInt64,
    value           Float64,
    value_low       Float64,
    value_high      Float64,
    converters      UInt64,
    total           String,
    absolute        Float64,
    absolute_low    Float64,
    absolute_high   Float64,
    relative        Float64,
    relative_low    Float64,
    relative_high   Float64,
    p               Float64,
    always_valid_p  Float64,
    win_probability Float64,
    expected_loss   Float64,
    decision        LowCardinality(String),
    code            LowCardinality(String),
    srm_p           Float64
)
ENGINE = MergeTree
ORDER BY (project, experiment, run, metric, variant);

CREATE TABLE IF NOT EXISTS experiment_runs (
    project     LowCardinality(String),
    experiment  LowCardinality(String),
    run         UUID,
    computed_at DateTime64(6, 'UTC'),
    version     Int64,
    srm_p       Float64,
    body        String CODEC(ZSTD(3)) -- the whole result as JSON
)
ENGINE = MergeTree
ORDER BY (project, experiment, computed_at);

-- The newest complete run of each experiment.
CREATE VIEW IF NOT EXISTS experiment_results AS
SELECT l.computed_at AS computed_at, r.*
FROM experiment_results_raw AS r
INNER JOIN (
    SELECT x.project AS project, x.experiment AS experiment, argMax(x.run, x.computed_at) AS run, max(x.computed_at) AS computed_at
    FROM experiment_runs AS x
    GROUP BY project, experiment
) AS l ON r.project = l.project AND r.experiment = l.experiment AND r.run = l.run;
