-- Test sessions of at least two events, on items that training has seen unless $keep_unseen.
-- In: labelled, seen_items (item). Values: $keep_unseen.
SELECT
    session,
    CAST(DENSE_RANK() OVER (ORDER BY session_number) - 1 AS BIGINT) AS session_number,
    CAST(ROW_NUMBER() OVER (PARTITION BY session_number ORDER BY position) - 1 AS BIGINT) AS position,
    item, time, session_start
FROM (
    SELECT
        l.session, l.session_number, l.position, l.item, l.time, l.session_start,
        COUNT(*) OVER (PARTITION BY l.session_number) AS length
    FROM labelled AS l
    LEFT JOIN seen_items AS seen ON seen.item = l.item
    WHERE l.part = 'test' AND ($keep_unseen OR seen.item IS NOT NULL)
) AS measured
WHERE length >= 2
ORDER BY session_number, position
