-- Training sessions of at least $shortest events.
-- In: labelled. Values: $shortest.
SELECT l.session, numbered.session_number, l.position, l.item, l.time, l.session_start
FROM labelled AS l
JOIN (
    SELECT
        session_number AS number_before,
        CAST(ROW_NUMBER() OVER (ORDER BY session_number) - 1 AS BIGINT) AS session_number
    FROM labelled
    WHERE part = 'train'
    GROUP BY session_number
    HAVING COUNT(*) >= $shortest
) AS numbered ON numbered.number_before = l.session_number
WHERE l.part = 'train'
ORDER BY numbered.session_number, l.position
