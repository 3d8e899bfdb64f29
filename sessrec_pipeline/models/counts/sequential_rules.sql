-- What came after each item within $steps events, itself included, weighted by the distance in units of 1 / $unit: whole numbers, whose
-- sum does not depend on its order. Of each item the $pruning strongest rules, among equals the pair seen first.
-- In: train (session_number, position, item, ...). Values: $steps, $weighting, $unit, $pruning.
SELECT item, next_item, weight, rule_rank
FROM (
    SELECT
        item,
        next_item,
        weight,
        CAST(ROW_NUMBER() OVER (PARTITION BY item ORDER BY weight DESC, first_seen) AS BIGINT) AS rule_rank
    FROM (
        SELECT
            item,
            next_item,
            CAST(SUM(CAST(FLOOR(0.5 + $unit * CASE
                WHEN $weighting = 'same' THEN 1
                WHEN $weighting = 'div' THEN 1 / NULLIF(CAST(distance AS DOUBLE), 0)
                WHEN $weighting = 'quadratic' THEN 1 / NULLIF(CAST(distance * distance AS DOUBLE), 0)
                WHEN $weighting = 'log' THEN 1 / NULLIF(LOG10(CAST(distance + 1.7 AS DOUBLE)), 0)
                WHEN distance < 10 THEN 1 - CAST(distance AS DOUBLE) / 10
                ELSE 0
            END) AS BIGINT)) AS BIGINT) AS weight,
            MIN(first_seen) AS first_seen
        FROM (
            SELECT
                one.item,
                later.item AS next_item,
                later.position - one.position AS distance,
                later.session_number * 1000000 + later.position AS first_seen
            FROM train AS one
            JOIN train AS later
                ON later.session_number = one.session_number
                AND later.position > one.position
                AND later.position <= one.position + $steps
        ) AS pairs
        GROUP BY item, next_item
    ) AS weighted
    WHERE weight > 0
) AS ranked
WHERE rule_rank <= $pruning
ORDER BY item, rule_rank
