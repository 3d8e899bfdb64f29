-- Training events, with the codes of ``train_sessions`` where the session's number belongs.
-- In: labelled.
SELECT session, session_number, position, item, time, session_start FROM labelled WHERE part = 'train'
