import sqlite3
import sys

c = sqlite3.connect(f"file:{sys.argv[1]}/state/nightshot.db?mode=ro", uri=True)
for r in c.execute(sys.argv[2]):
    print(r)
