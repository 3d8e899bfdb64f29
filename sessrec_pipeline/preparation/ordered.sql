-- The events that are left in the order in which everything downstream reads them, numbered inside their session.
-- In: kept (session, item, time, place, split), numbered (session, code)
SELECT
    numbered.code AS session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY numbered.code ORDER BY kept.time, kept.place) - 1 AS INT) AS position,
    kept.item, kept.time, kept.split
FROM kept
JOIN numbered ON numbered.session = kept.session
ORDER BY session_number, position
