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

-- Every artefact with everything that it rests on, itself included.
CREATE VIEW IF NOT EXISTS lineage.origin AS
WITH RECURSIVE walk (id, ancestor) AS (
    SELECT id, id FROM lineage.node
    UNION
    SELECT walk.id, edge.parent FROM walk JOIN lineage.edge ON edge.child = walk.ancestor
)
SELECT walk.id, node.id AS ancestor, node.asset, node.partition_key, node.data_version, node.code_version, node.config
FROM walk JOIN lineage.node ON node.id = walk.ancestor;
