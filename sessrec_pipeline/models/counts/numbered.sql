-- Training events with their place in the order in which sessions began.
-- In: train (session_number, position, item, ...)
SELECT
    session_number,
    position,
    item,
    CAST(ROW_NUMBER() OVER (ORDER BY session_number, position) AS BIGINT) AS place
FROM train
