-- In: labelled. Values: $shortest session that is kept.
SELECT
    session,
    CAST(DENSE_RANK() OVER (ORDER BY session_start, session) - 1 AS BIGINT) AS session_number,
    position, item, time, session_start
FROM (
    SELECT
        session, position, item, time, session_start,
        COUNT(*) OVER (PARTITION BY session) AS length
    FROM labelled
    WHERE part = 'train'
) AS measured
WHERE length >= $shortest
ORDER BY session_start, session, position
