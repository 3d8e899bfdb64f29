-- Sessions cut where nothing happened for longer than the gap, and their parts numbered from 0.
-- In: deduplicated (session, item, time, place, split). Values: $gap in microseconds.
SELECT
    session,
    CAST(SUM(CASE WHEN time - previous > $gap THEN 1 ELSE 0 END)
        OVER (PARTITION BY session ORDER BY time, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
        AS BIGINT) AS part,
    item, time, place, split
FROM (
    SELECT
        session, item, time, place, split,
        LAG(time) OVER (PARTITION BY session ORDER BY time, place) AS previous
    FROM deduplicated
) AS with_previous
