#!/usr/bin/env python3
"""duckdb_bids.py CASE FOLDER: what DuckDB's batch reader does on one thread with the bids of Nexmark as JSON.

CASE is scan (all bids, their columns read), tumble (count by auction in 10 s), or hop (count by auction in 10 s every
2 s). The whole process is measured by who calls it. Needs `pip install duckdb`."""
import sys

import duckdb

case, folder = sys.argv[1:]
duckdb.execute("SET threads = 1")
bids = f"""(SELECT bid.auction AS auction, bid.bidder AS bidder, bid.price AS price, bid."dateTime" AS ts
  FROM read_json('{folder}/*.json', format = 'newline_delimited', columns = {{event_type: 'INT', bid:
    'STRUCT(auction BIGINT, bidder BIGINT, price BIGINT, "dateTime" TIMESTAMP)'}}) WHERE event_type = 2)"""
width, step = 10_000, 2_000
queries = {
    "scan": f"SELECT count(*), sum(auction), sum(bidder), sum(price), max(ts) FROM {bids}",
    "tumble": f"SELECT count(*), sum(c) FROM (SELECT auction, epoch_ms(ts) // {width} AS w, count(*) AS c"
    f" FROM {bids} GROUP BY ALL)",
    "hop": f"SELECT count(*), sum(c) FROM (SELECT auction, w, count(*) AS c FROM (SELECT auction,"
    f" unnest(range(epoch_ms(ts) // {step} - {width // step - 1}, epoch_ms(ts) // {step} + 1)) AS w FROM {bids})"
    " GROUP BY ALL)",
}
print(duckdb.execute(queries[case]).fetchall())
