-- Sessions cut where nothing happened for longer than the gap. Every part is numbered, the first one too: were it not,
-- the second part of 'a' and a session that the log itself calls 'a#2' would be one.
-- In: deduplicated (session, item, time, log, line, split). Values: $gap in microseconds.
SELECT
    session || '#' || CAST(part + 1 AS VARCHAR) AS session,
    item, time, log, line, split
FROM (
    SELECT
        session, item, time, log, line, split,
        CAST(SUM(CASE WHEN time - previous > $gap THEN 1 ELSE 0 END)
            OVER (PARTITION BY session ORDER BY time, log, line ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            AS BIGINT) AS part
    FROM (
        SELECT
            session, item, time, log, line, split,
            LAG(time) OVER (PARTITION BY session ORDER BY time, log, line) AS previous
        FROM deduplicated
    ) AS with_previous
) AS with_part
