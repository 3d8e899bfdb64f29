-- Training sessions of at least $shortest events; positions count anew, for a given split may part a session.
-- In: labelled. Values: $shortest.
SELECT
    session,
    CAST(DENSE_RANK() OVER (ORDER BY session_start, session) - 1 AS BIGINT) AS session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY session ORDER BY position) - 1 AS BIGINT) AS position,
    item, time, session_start
FROM (
    SELECT
        session, position, item, time, session_start,
        COUNT(*) OVER (PARTITION BY session) AS length
    FROM labelled
    WHERE part = 'train'
) AS measured
WHERE length >= $shortest
ORDER BY session_start, session, position
