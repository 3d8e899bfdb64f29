CREATE SCHEMA IF NOT EXISTS lineage;

CREATE TABLE IF NOT EXISTS lineage.node (
    id VARCHAR PRIMARY KEY,
    asset VARCHAR NOT NULL,
    partition_key VARCHAR,
    data_version VARCHAR NOT NULL,
    code_version VARCHAR NOT NULL,
    config JSON NOT NULL,
    engine VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    row_count BIGINT,
    stats JSON NOT NULL
);

CREATE TABLE IF NOT EXISTS lineage.edge (
    child VARCHAR NOT NULL,
    parent VARCHAR NOT NULL,
    PRIMARY KEY (child, parent)
);

-- Which version of an artefact the catalogue, and a table loaded from it, has seen last; '' is no partition.
CREATE TABLE IF NOT EXISTS lineage.current (
    asset VARCHAR NOT NULL,
    partition_key VARCHAR NOT NULL,
    id VARCHAR NOT NULL,
    PRIMARY KEY (asset, partition_key)
);

-- The metrics of every run, of which the table metrics has the last.
CREATE TABLE IF NOT EXISTS history (
    created_at TIMESTAMPTZ NOT NULL,
    run_id VARCHAR NOT NULL,
    evaluation VARCHAR NOT NULL, -- lineage id of the metrics
    model VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    k BIGINT NOT NULL,
    tie_rule VARCHAR NOT NULL,
    value DOUBLE NOT NULL,
    low DOUBLE,
    high DOUBLE,
    predictions BIGINT,
    sessions BIGINT,
    rankings VARCHAR
);

-- Every artefact with everything that it rests on, itself included.
CREATE VIEW IF NOT EXISTS lineage.origin AS
WITH RECURSIVE walk (id, ancestor) AS (
    SELECT id, id FROM lineage.node
    UNION
    SELECT walk.id, edge.parent FROM walk JOIN lineage.edge ON edge.child = walk.ancestor
)
SELECT walk.id, node.id AS ancestor, node.asset, node.partition_key, node.data_version, node.code_version, node.config
FROM walk JOIN lineage.node ON node.id = walk.ancestor;
