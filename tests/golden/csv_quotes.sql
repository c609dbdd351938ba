-- Another delimiter; quotes, delimiters and line ends inside of fields, read and written.
-- stateless
-- batch 1
-- oracle result: SELECT id, text, character_length(text) FROM notes
CREATE TABLE notes (id BIGINT, text STRING)
WITH ('connector' = 'filesystem', 'path' = '${DATA}/notes.csv', 'format' = 'csv', 'csv.field-delimiter' = ';');
CREATE TABLE result (id BIGINT, text STRING, length INT)
WITH ('connector' = 'filesystem', 'path' = '${OUT}/result', 'format' = 'csv', 'csv.field-delimiter' = '\t');
INSERT INTO result SELECT id, text, CHAR_LENGTH(text) FROM notes;
