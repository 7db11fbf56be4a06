# cython: language_level=3, boundscheck=True, wraparound=False, embedsignature=True
"""What one loop turn of the kernel changes in its journal, as rows by table and key.

It knows no table: which there are and what their rows hold is kernel/records.py.

Invariants (tests/ext/test_write_set.py checks them against plain dicts):
  W1  per table and key it holds the last thing said: a row, or None for "gone".
  W2  a row that was put as new and deleted within one set leaves no trace; nor does one of a set
      that was absorbed.

Cost: one dict write a row, about 0.1 us; a set that is absorbed into an empty one costs nothing.
"""


cdef class WriteSet:
    """See the module head.

    tables: by name, the rows by key. num_deleted: rows, whether they were in the journal or not.
    """

    cdef readonly dict tables
    cdef dict _new  # by table, the keys that the journal has never had
    cdef readonly Py_ssize_t num_deleted

    def __cinit__(self):
        self.tables = {}
        self._new = {}
        self.num_deleted = 0

    def __bool__(self):
        for rows in self.tables.values():
            if rows:
                return True
        return False

    @property
    def num_new(self):
        """Return how many rows would be spared if they were deleted before the commit."""
        cdef Py_ssize_t total = 0
        for keys in self._new.values():
            total += len(<set>keys)
        return total

    @property
    def opens_ids(self):
        """Say whether it reserves ids: if it is lost, the next kernel gives the same ones."""
        return "meta" in self.tables

    cdef dict _rows(self, str table):
        rows = self.tables.get(table)
        if rows is None:
            rows = self.tables[table] = {}
        return <dict>rows

    def put(self, str table not None, key, tuple row not None):
        """Store the row; it replaces what the key had."""
        self._rows(table)[key] = row

    def put_new(self, str table not None, key, tuple row not None):
        """Store the row of a key that the journal has never had."""
        self._rows(table)[key] = row
        new = self._new.get(table)
        if new is None:
            new = self._new[table] = set()
        (<set>new).add(key)

    def delete(self, str table not None, key):
        """Remove the key; no trace of it is left if it was new in this set."""
        self._delete(self._rows(table), self._new.get(table), key)

    cdef int _delete(self, dict rows, set new, key) except -1:
        if new is not None and key in new:
            new.discard(key)
            rows.pop(key, None)
        else:
            rows[key] = None
        self.num_deleted += 1
        return 0

    def absorb(self, WriteSet later not None):
        """Take over what a later set says; it is empty of meaning afterwards."""
        if not self.tables:
            self.tables, self._new = later.tables, later._new
            self.num_deleted += later.num_deleted
            return
        for table, rows in later.tables.items():
            self._absorb_rows(self._rows(table), self._new.get(table), <dict>rows)
        for table, keys in later._new.items():
            new = self._new.get(table)
            if new is None:
                self._new[table] = keys
            else:
                (<set>new).update(<set>keys)

    cdef int _absorb_rows(self, dict mine, set new, dict rows) except -1:
        for key, row in rows.items():
            if row is None:
                self._delete(mine, new, key)
            else:
                mine[key] = row
        return 0
