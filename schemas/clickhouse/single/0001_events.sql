-- Every statement may run again, after a kill or beside another process: keep
-- IF NOT EXISTS, and let later files add with ADD COLUMN IF NOT EXISTS.

-- Events as the aggregator stores them. A row may stand twice until a merge
-- (or for good, across months): only event_id says what is the same event, so
-- readers collapse by it. Sorted by anchor, the hash of the visitor, else of
-- the user: a row and its visitor's identity always lie together.
--
-- There is no window of deduplicated inserts (the default of a plain
-- MergeTree): the engine notes a block before its part is in place, and a kill
-- between the two would have the repetition skipped and the rows lost.
CREATE TABLE IF NOT EXISTS exposures_raw (
    project         LowCardinality(String),
    experiment      LowCardinality(String),
    anchor          UInt64,
    user            UInt64,
    event_id        UUID                    CODEC(NONE),
    time            DateTime64(6, 'UTC')    CODEC(Delta, ZSTD(1)),
    received_at     DateTime64(6, 'UTC')    CODEC(Delta, ZSTD(1)),
    variant         LowCardinality(String),
    sdk_error       LowCardinality(String),
    override_reason LowCardinality(String),
    flags           UInt8,
    visitor_id      String                  CODEC(ZSTD(1)),
    user_id         String                  CODEC(ZSTD(1)),
    tags            Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    topic_partition UInt16,
    offset          Int64                   CODEC(Delta, ZSTD(1)),
    -- the earliest receipt stands, in whatever order copies arrive
    ver             UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(received_at)))
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toYYYYMM(received_at)
ORDER BY (project, experiment, anchor, event_id)
PRIMARY KEY (project, experiment, anchor);

CREATE TABLE IF NOT EXISTS kpis_raw (
    project         LowCardinality(String),
    name            LowCardinality(String),
    anchor          UInt64,
    user            UInt64,
    event_id        UUID                    CODEC(NONE),
    time            DateTime64(6, 'UTC')    CODEC(Delta, ZSTD(1)),
    received_at     DateTime64(6, 'UTC')    CODEC(Delta, ZSTD(1)),
    value_micro     Int64                   CODEC(ZSTD(1)),
    sdk_error       LowCardinality(String),
    flags           UInt8,
    visitor_id      String                  CODEC(ZSTD(1)),
    user_id         String                  CODEC(ZSTD(1)),
    tags            Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    topic_partition UInt16,
    offset          Int64                   CODEC(Delta, ZSTD(1)),
    ver             UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(received_at)))
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toYYYYMM(received_at)
ORDER BY (project, name, anchor, event_id)
PRIMARY KEY (project, name, anchor);

CREATE TABLE IF NOT EXISTS matches_raw (
    project         LowCardinality(String),
    visitor         UInt64,
    user            UInt64,
    event_id        UUID                    CODEC(NONE),
    time            DateTime64(6, 'UTC'),
    received_at     DateTime64(6, 'UTC'),
    context         LowCardinality(String),
    flags           UInt8,
    visitor_id      String                  CODEC(ZSTD(1)),
    user_id         String                  CODEC(ZSTD(1)),
    tags            Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    topic_partition UInt16,
    offset          Int64                   CODEC(Delta, ZSTD(1)),
    ver             UInt64 MATERIALIZED bitNot(toUInt64(toUnixTimestamp64Micro(received_at)))
)
ENGINE = ReplacingMergeTree(ver)
PARTITION BY toYYYYMM(received_at)
ORDER BY (project, visitor, event_id);

-- One mergeable row per visitor: the first match by (time, user_id) owns it.
-- A minimum and a set, so replays and any order of arrival change nothing.
CREATE TABLE IF NOT EXISTS identities_state (
    project LowCardinality(String),
    visitor UInt64,
    first   SimpleAggregateFunction(min, Tuple(DateTime64(6, 'UTC'), String, UInt64)),
    users   SimpleAggregateFunction(groupUniqArrayArray, Array(UInt64))
)
ENGINE = AggregatingMergeTree
ORDER BY (project, visitor);

CREATE MATERIALIZED VIEW IF NOT EXISTS identities_mv TO identities_state AS
SELECT project, visitor, (time, user_id, user) AS first, [user] AS users
FROM matches_raw;

-- What arrived lately, by what it touches: from it the analyzer learns in
-- milliseconds that nothing is new for an experiment. One row per stored block,
-- key and partition, not one per event: whether any offset past a mark has come
-- is seen from the last one.
CREATE TABLE IF NOT EXISTS changes (
    project         LowCardinality(String),
    kind            UInt8, -- 1 exposure, 2 KPI, 3 match
    key             LowCardinality(String), -- experiment or KPI name
    topic_partition UInt16,
    offset          Int64, -- the last of the block
    at              DateTime DEFAULT now()
)
ENGINE = MergeTree
ORDER BY (project, kind, key, topic_partition, offset)
TTL at + INTERVAL 7 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS changes_exposures TO changes AS
SELECT project, 1 AS kind, experiment AS key, topic_partition, max(r.offset) AS offset, now() AS at
FROM exposures_raw AS r
GROUP BY project, kind, key, topic_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS changes_kpis TO changes AS
SELECT project, 2 AS kind, name AS key, topic_partition, max(r.offset) AS offset, now() AS at
FROM kpis_raw AS r
GROUP BY project, kind, key, topic_partition;

CREATE MATERIALIZED VIEW IF NOT EXISTS changes_matches TO changes AS
SELECT project, 3 AS kind, '' AS key, topic_partition, max(r.offset) AS offset, now() AS at
FROM matches_raw AS r
GROUP BY project, kind, key, topic_partition;

-- The ledger: one row per range of the log that was worked off. The ranges of
-- one partition follow each other without gap or overlap, from the first offset
-- there was; a repeated row is the same range again. A row is written after its
-- events can be read, so max(to_offset) is also the offset up to which the
-- analyzer may trust the tables.
CREATE TABLE IF NOT EXISTS batches (
    topic           LowCardinality(String),
    topic_partition UInt16,
    from_offset     Int64, -- inclusive
    to_offset       Int64, -- exclusive
    stored          UInt64,
    dead            UInt64,
    attempt         UInt32,
    member          String,
    at              DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (topic, topic_partition, from_offset, to_offset);

CREATE VIEW IF NOT EXISTS identities AS
SELECT project, visitor, first.1 AS matched_at, first.2 AS user_id, first.3 AS owner, length(users) > 1 AS shared
FROM identities_state FINAL;

-- The views that dashboards read: every event once, under its canonical entity.
CREATE VIEW IF NOT EXISTS exposures AS
SELECT
    r.project AS project, r.experiment AS experiment, r.variant AS variant,
    if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS entity,
    r.visitor_id AS visitor_id, if(r.user_id != '', r.user_id, o.user_id) AS user_id,
    r.time AS time, r.received_at AS received_at,
    r.sdk_error AS sdk_error, r.override_reason AS override_reason, r.flags AS flags,
    r.tags AS tags, r.event_id AS event_id, r.topic_partition AS topic_partition, r.offset AS offset
FROM exposures_raw AS r FINAL
LEFT ANY JOIN (
    SELECT project, visitor, first.3 AS owner, first.2 AS user_id FROM identities_state FINAL
) AS o ON r.project = o.project AND r.anchor = o.visitor;

CREATE VIEW IF NOT EXISTS kpis AS
SELECT
    r.project AS project, r.name AS name,
    r.value_micro / 1000000 AS value, r.value_micro AS value_micro,
    if(r.user != 0, r.user, if(o.owner != 0, o.owner, r.anchor)) AS entity,
    r.visitor_id AS visitor_id, if(r.user_id != '', r.user_id, o.user_id) AS user_id,
    r.time AS time, r.received_at AS received_at, r.sdk_error AS sdk_error, r.flags AS flags,
    r.tags AS tags, r.event_id AS event_id, r.topic_partition AS topic_partition, r.offset AS offset
FROM kpis_raw AS r FINAL
LEFT ANY JOIN (
    SELECT project, visitor, first.3 AS owner, first.2 AS user_id FROM identities_state FINAL
) AS o ON r.project = o.project AND r.anchor = o.visitor;

CREATE VIEW IF NOT EXISTS matches AS
SELECT
    project, visitor, user, visitor_id, user_id, time, received_at,
    context, flags, tags, event_id, topic_partition, offset
FROM matches_raw FINAL;
