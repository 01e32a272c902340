"""Reads cases as JSON lines, answers each with what an independent library says."""
import json
import sys
import warnings

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests

warnings.filterwarnings("ignore")

NAMES = {"holm": "holm", "hochberg": "simes-hochberg", "hommel": "hommel", "bh": "fdr_bh",
         "by": "fdr_by", "sidak": "sidak", "bonferroni": "bonferroni"}


def gbstats(case):
    from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig
    from gbstats.frequentist.tests import FrequentistConfig, SequentialConfig, SequentialTwoSidedTTest, TwoSidedTTest
    from gbstats.models.statistics import RatioStatistic, RegressionAdjustedStatistic, SampleMeanStatistic, compute_theta

    def mean(v):
        return SampleMeanStatistic(n=v["n"], sum=v["sum"], sum_squares=v["squares"])

    def arm(a):
        x, y = mean(a["x"]), mean(a["y"])
        if case["kind"] == "mean":
            return x
        if case["kind"] == "ratio":
            return RatioStatistic(n=x.n, m_statistic=x, d_statistic=y, m_d_sum_of_products=a["xy"])
        return RegressionAdjustedStatistic(n=x.n, post_statistic=x, pre_statistic=y, post_pre_sum_of_products=a["xy"], theta=0)

    pair = (arm(case["a"]), arm(case["b"]))
    if case["kind"] == "cuped":
        theta = compute_theta(*pair)
        for p in pair:
            p.theta = theta
    kind = "relative" if case["relative"] else "absolute"
    out = []
    t = TwoSidedTTest(*pair, FrequentistConfig(difference_type=kind)).compute_result()
    out += [t.expected, t.ci[0], t.ci[1]]
    s = SequentialTwoSidedTTest(*pair, SequentialConfig(difference_type=kind)).compute_result()
    out += [s.ci[0], s.ci[1], s.p_value]
    b = EffectBayesianABTest(*pair, EffectBayesianConfig(difference_type=kind)).compute_result()
    out += [b.chance_to_win, b.ci[0], b.ci[1]]
    return out


def answer(case):
    do, x = case["do"], case.get("x")
    if do == "t_sf":
        return [2 * stats.t.sf(x[0], x[1])]
    if do == "t_ppf":
        return [stats.t.ppf(x[0], x[1])]
    if do == "norm":
        return [stats.norm.cdf(x[0]), stats.norm.ppf(x[1])]
    if do == "chi2":
        return [stats.chi2.sf(x[0], x[1])]
    if do == "beta":
        return [special.btdtri(x[0], x[1], x[2]) if hasattr(special, "btdtri") else stats.beta.ppf(x[2], x[0], x[1])]
    if do == "gamma":
        return [stats.gamma.ppf(x[1], x[0])]
    if do == "welch":
        r = stats.ttest_ind_from_stats(x[0], x[1], x[2], x[3], x[4], x[5], equal_var=False)
        return [float(r.pvalue)]
    if do == "adjust":
        return multipletests(x, method=NAMES[case["how"]])[1].tolist()
    if do == "gbstats":
        return gbstats(case)
    raise ValueError(do)


for line in sys.stdin:
    print(json.dumps([float(v) for v in answer(json.loads(line))]))
