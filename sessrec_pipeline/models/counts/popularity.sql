-- Items by number of training events; among equals the one seen first comes first.
-- In: train (session_number, position, item, ...)
SELECT
    item,
    events,
    first_seen,
    CAST(ROW_NUMBER() OVER (ORDER BY events DESC, first_seen) AS BIGINT) AS popularity_rank
FROM (
    SELECT
        item,
        CAST(COUNT(*) AS BIGINT) AS events,
        MIN(session_number * 1000000 + position) AS first_seen
    FROM train
    GROUP BY item
) AS counted
ORDER BY popularity_rank
