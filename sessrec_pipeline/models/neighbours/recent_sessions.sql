-- The training sessions that are among the $sample_size most recent ones of any of their items, an item a row, where
-- position is that of its last event. Sessions are as recent as their last event; of those that ended together the one
-- that began last is the most recent.
-- In: visited (session_number, item, last_position, session_end). Values: $sample_size.
SELECT recency, item, position, session_end, item_recency, all_sessions
FROM (
    SELECT
        recency,
        item,
        position,
        session_end,
        item_recency,
        all_sessions,
        MIN(item_recency) OVER (PARTITION BY recency) AS best
    FROM (
        SELECT
            recent.recency,
            v.item,
            v.last_position AS position,
            v.session_end,
            CAST(ROW_NUMBER() OVER (PARTITION BY v.item ORDER BY recent.recency) AS BIGINT) AS item_recency,
            counted.sessions AS all_sessions
        FROM visited AS v
        JOIN (
            SELECT
                session_number,
                CAST(ROW_NUMBER() OVER (ORDER BY session_end DESC, session_number DESC) AS BIGINT) AS recency
            FROM visited
            GROUP BY session_number, session_end
        ) AS recent ON recent.session_number = v.session_number
        CROSS JOIN (SELECT CAST(COUNT(DISTINCT session_number) AS BIGINT) AS sessions FROM visited) AS counted
    ) AS every
) AS ranked
WHERE best <= $sample_size
ORDER BY recency, position
