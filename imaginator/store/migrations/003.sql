-- What changes about an image is in columns, so that extending thousands of them reads and writes no record; what its record
-- says of the same is how it began. When an image brought a node along nothing has ever asked.

ALTER TABLE images ADD COLUMN confirmed_at REAL;    -- when it was last what a new build would make; NULL: see its record
ALTER TABLE nodes DROP COLUMN used_at;
