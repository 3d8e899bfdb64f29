-- With each day that has events, all events in the $reference days before; NULL where there is none.
-- In: item_days (day, item, events). Values: $reference in days.
SELECT
    day,
    CAST(SUM(events) OVER (ORDER BY day RANGE BETWEEN $reference PRECEDING AND 1 PRECEDING) AS BIGINT)
        AS reference_total
FROM (
    SELECT day, CAST(SUM(events) AS BIGINT) AS events FROM item_days GROUP BY day
) AS totals
