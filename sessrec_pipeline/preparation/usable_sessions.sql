-- Sessions of $shortest to $longest events, before any item is dropped, and how many events these are.
-- In: session_lengths (session, events)
SELECT session, events FROM session_lengths WHERE events BETWEEN $shortest AND $longest
