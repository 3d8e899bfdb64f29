-- Landed events with numbers in the place of ids: whatever compares, groups or sorts events after this compares numbers.
-- In: landed (session, item, time, place, split, extra), session_ids, item_ids (id, code)
SELECT session_ids.code AS session, item_ids.code AS item, landed.time, landed.place, landed.split, landed.extra
FROM landed
JOIN session_ids ON session_ids.id = landed.session
JOIN item_ids ON item_ids.id = landed.item
