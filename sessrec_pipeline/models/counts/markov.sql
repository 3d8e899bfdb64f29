-- How often each item followed each other one, next to it in a training session.
-- In: train (session_number, position, item, ...)
SELECT
    item,
    next_item,
    transitions,
    first_seen,
    CAST(ROW_NUMBER() OVER (PARTITION BY item ORDER BY transitions DESC, first_seen) AS BIGINT) AS successor_rank
FROM (
    SELECT
        item,
        next_item,
        CAST(COUNT(*) AS BIGINT) AS transitions,
        MIN(session_number * 1000000 + position) AS first_seen
    FROM (
        SELECT
            session_number,
            position,
            item,
            LEAD(item) OVER (PARTITION BY session_number ORDER BY position) AS next_item
        FROM train
    ) AS pairs
    WHERE next_item IS NOT NULL
    GROUP BY item, next_item
) AS counted
ORDER BY item, successor_rank
