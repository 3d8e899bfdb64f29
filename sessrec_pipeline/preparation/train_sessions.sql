-- Training sessions of at least $shortest events: their numbers anew. One that is not among them has none.
-- In: labelled. Values: $shortest.
SELECT
    session_number AS code, events,
    CASE WHEN events >= $shortest
        THEN CAST(SUM(CASE WHEN events >= $shortest THEN 1 ELSE 0 END) OVER (ORDER BY session_number) - 1 AS BIGINT)
    END AS session_number
FROM (
    SELECT session_number, CAST(SUM(CASE WHEN part = 'train' THEN 1 ELSE 0 END) AS BIGINT) AS events
    FROM labelled
    GROUP BY session_number
) AS counted
