-- Sessions cut where nothing happened for longer than the gap. Every part is numbered, the first one too: were it not,
-- the second part of 'a' and a session that the log itself calls 'a#2' would be one.
-- In: deduplicated (session, item, time, place, split). Values: $gap in microseconds.
SELECT
    session || '#' || CAST(part + 1 AS STRING) AS session,
    item, time, place, split
FROM (
    SELECT
        session, item, time, place, split,
        CAST(SUM(CASE WHEN time - previous > $gap THEN 1 ELSE 0 END)
            OVER (PARTITION BY session ORDER BY time, place ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
            AS BIGINT) AS part
    FROM (
        SELECT
            session, item, time, place, split,
            LAG(time) OVER (PARTITION BY session ORDER BY time, place) AS previous
        FROM deduplicated
    ) AS with_previous
) AS with_part
