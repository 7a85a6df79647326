"""The probability that calibration.json and the logit give, by their definition, in 64 bits."""

import bisect
import json
import math


class Curve:
    def __init__(self, case, scenarios):
        self.content = json.load(open(case["calibration"])) if case["calibration"] else None
        self.numbers = {name: i for i, name in enumerate(scenarios)}

    def at(self, logit, scenario):
        if self.content is None:
            return None
        i, fit = self.numbers.get(scenario, len(self.numbers) - 1), self.content["fit"]
        z = logit + math.log(self.content["negative_rates"][i])
        ((kind, f),) = (fit["scenarios"][i] or fit["all"]).items()
        if kind == "platt":
            return 1 / (1 + math.exp(-(f["slope"] * z + f["intercept"])))
        x, y = f["logits"], f["probabilities"]
        at = bisect.bisect_left(x, z)
        if at in (0, len(x)):
            return y[0 if at == 0 else -1]
        return y[at - 1] + (z - x[at - 1]) / (x[at] - x[at - 1]) * (y[at] - y[at - 1])

    def far(self, found, logit, scenario, wanted, close):
        """How far an answer is from what is wanted. A calibration has to be that of the logit, to the last bit of 32; where it is steep, it
        may part two answers further than their logits are."""
        exact = self.at(logit, scenario)
        if exact is None:
            return abs(found - wanted)
        assert abs(found - exact) <= 2**-24, f"{found} is not the calibrated {exact} of logit {logit} in {scenario}"
        about = close * max(1.0, abs(logit))
        steep = self.at(logit + about, scenario) - self.at(logit - about, scenario)
        return max(0.0, abs(found - wanted) - steep)
