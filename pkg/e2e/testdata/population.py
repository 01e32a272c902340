"""Plays a small population through the unmodified HypoTest SDK.

Arguments: address, port, token, visitors. Prints one JSON list with the
variant that each visitor was given. Who converts is a function of the
visitor's number and variant alone, so the caller can work out what must come.
"""
import json
import os
import sys

os.environ["HT_ASYNC_MODE"] = "false"
address, port, token, visitors = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])

from hypotest_python3_sdk.config import ht_config

ht_config.address, ht_config.port = address, port

import hypotest_python3_sdk as hypotest

hypotest.config(token=token)

variants = []
for i in range(visitors):
    visitor, user = f"visitor-{i}", f"user-{i}"
    variant = hypotest.experiment("sdk/headline", visitor_id=visitor, tags={"country": "fr", "n": i, "none": None})
    name = "control" if variant.is_control else str(variant)
    variants.append(name)
    if i % (5 if name == "control" else 3) == 0:
        hypotest.match_user_visitor(user_id=user, visitor_id=visitor, context="signup")
        hypotest.kpi_event("signup", user_id=user)
        if i % 2 == 0:
            hypotest.kpi_event("purchase", user_id=user, value=10 + i % 7 + 0.25)
# What the SDK lets through and the server must stand: a value that is no
# number, a numeric string, nobody's event, a match without a user.
hypotest.kpi_event("purchase", user_id="user-0", value=float("nan"))
hypotest.kpi_event("note", user_id="user-0", value="12")
hypotest.kpi_event("note")
hypotest.match_user_visitor(user_id=None, visitor_id="visitor-1")
print(json.dumps(variants))
