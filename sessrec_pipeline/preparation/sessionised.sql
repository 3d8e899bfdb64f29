-- Sessions cut where nothing happened for longer than the gap; with no gap ($gap = 0) they stay as the log has them.
-- In: deduplicated (session, item, time, log, line, split). Values: $gap in microseconds.
SELECT
    CASE WHEN part = 0 THEN session ELSE session || '#' || CAST(part + 1 AS VARCHAR) END AS session,
    item, time, log, line, split
FROM (
    SELECT
        session, item, time, log, line, split,
        CAST(SUM(CASE WHEN $gap > 0 AND time - previous > $gap THEN 1 ELSE 0 END)
            OVER (PARTITION BY session ORDER BY time, log, line ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            AS BIGINT) AS part
    FROM (
        SELECT
            session, item, time, log, line, split,
            LAG(time) OVER (PARTITION BY session ORDER BY time, log, line) AS previous
        FROM deduplicated
    ) AS with_previous
) AS with_part
