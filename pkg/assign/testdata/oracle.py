"""Answers as the HypoTest SDK does, by its own code: one JSON case a line.

{"condition", "tag_names", "tags", "user_id", "visitor_id"} -> {"result": bool} or {"error": str}
{"experiment": {...}, "user_id", "visitor_id"}              -> {"variant", "error", "override_reason"}
"""
import json
import os
import sys
import warnings

os.environ["HT_ASYNC_MODE"] = "false"
warnings.simplefilter("ignore")

from hypotest_python3_sdk.experiment_settings import ExperimentSettings
from hypotest_python3_sdk.retrieve_experiments import _fix_condition
from hypotest_python3_sdk.routing import _get_variant


def condition(case):
    tags, user_id, visitor_id = case["tags"], case["user_id"], case["visitor_id"]
    try:
        result = eval(_fix_condition(case["condition"], case["tag_names"]))
    except Exception as e:
        return {"error": repr(e)}
    if not isinstance(result, bool):
        return {"error": "not a bool: %r" % (result,)}
    return {"result": result}


def draw(case):
    x = case["experiment"]
    settings = ExperimentSettings(
        x["id"], "x", "", [], "True", dict(x["shares"]), [], x["state"], x["active"], x["override_control"], x["override_b"])
    variant, error, reason = _get_variant(settings, case["user_id"], case["visitor_id"])
    return {"variant": variant, "error": error, "override_reason": reason}


for line in sys.stdin:
    case = json.loads(line)
    print(json.dumps(draw(case) if "experiment" in case else condition(case)))
