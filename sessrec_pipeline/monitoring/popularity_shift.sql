-- How far each day's events are spread over the items otherwise than in its reference, the days before it.
-- An item with events in the reference is known; its share of the day's events on known items is p, its share of the
-- reference q. Items that are new are counted apart: no floor under a share of zero gives them a sound part in PSI.
--   PSI = sum of (p' - q) ln(p' / q) with p' = (1 - $floor) p + $floor q, over all known items
--   JS distance = square root of half the sum of p log2(2p / (p + q)) + q log2(2q / (p + q))
-- Known items without an event on the day all have p = 0, so that their share of the reference tells their part.
-- Sums are of whole numbers, parts of 1e12: they do not depend on the order of rows.
-- In: in_reference (day, item, events, reference_events), reference_totals (day, reference_total). Values: $floor.
SELECT
    d.day,
    d.events,
    d.new_events,
    s.psi_terms / 1e12 + (1 - s.seen_share) * (1 - $floor) * -LN($floor) AS psi,
    SQRT((s.js_terms / 1e12 + 1 - s.seen_share) / 2) AS js_distance
FROM (
    SELECT
        day,
        CAST(SUM(events) AS BIGINT) AS events,
        CAST(SUM(CASE WHEN reference_events IS NULL THEN events ELSE 0 END) AS BIGINT) AS new_events
    FROM in_reference
    GROUP BY day
) AS d
LEFT JOIN (
    SELECT
        day,
        SUM(reference_events) / NULLIF(MAX(reference_total), 0) AS seen_share,
        SUM(CAST(FLOOR((mixed - q) * LN(mixed / NULLIF(q, 0)) * 1e12) AS BIGINT)) AS psi_terms,
        SUM(CAST(FLOOR(
            (p * LOG2(2 * p / NULLIF(p + q, 0)) + q * LOG2(2 * q / NULLIF(p + q, 0))) * 1e12
        ) AS BIGINT)) AS js_terms
    FROM (
        SELECT day, reference_events, reference_total, p, q, (1 - $floor) * p + $floor * q AS mixed
        FROM (
            SELECT
                i.day, i.reference_events, t.reference_total,
                i.events / NULLIF(SUM(i.events) OVER (PARTITION BY i.day), 0) AS p,
                i.reference_events / NULLIF(t.reference_total, 0) AS q
            FROM in_reference AS i
            JOIN reference_totals AS t ON t.day = i.day
            WHERE i.reference_events IS NOT NULL
        ) AS shares
    ) AS mixtures
    GROUP BY day
) AS s ON s.day = d.day
ORDER BY day
