"""What both sides are given: fields, settings of every kind, steps, seeds."""

DIM, INIT_STD = 16, 0.01
EPOCHS, BATCH_SIZE = 4, 1024
ADAM = {"lr": 2e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}

# As examples/ml-100k.toml has them.
FIELDS = [
    {"name": "user_id"},
    {"name": "item_id"},
    {"name": "genres", "kind": "multi"},
    {"name": "release_year"},
    {"name": "age", "role": "specific"},
    {"name": "gender", "role": "specific"},
    {"name": "occupation", "role": "specific"},
    {"name": "zip_code", "role": "specific", "min_frequency": 50},
]

# The defaults of docs/models.md, with numbers of experts spelt out and prior fields where there can be any.
THREE = {"count": 3}
SETTINGS = {
    "optmsm": {
        "orthogonality": 0.1,
        "experts": {**THREE, "hidden": [64, 32]},
        "specific": {"hidden": [16]},
        "tower": {"hidden": [32]},
        "hyper": {"scenario_dim": 16, "trunk": 32, "rank": 16},
    },
    "dnn": {"hidden": [192, 64], "scenario_dim": 16},
    "shared_bottom": {"bottom": {"hidden": [160, 64]}, "tower": {"hidden": [32]}},
    "mmoe": {"experts": {**THREE, "hidden": [64, 32]}, "tower": {"hidden": [32]}},
    "epnet": {"gate": {"hidden": [96]}, "tower": {"hidden": [32]}, "scenario_dim": 16},
    "star": {"hidden": [48, 24], "aux": {"hidden": [16]}, "scenario_dim": 16},
    "separate": {"hidden": [64, 32]},
    "dcnv2": {"cross": 2, "rank": 16, "hidden": [160, 64], "scenario_dim": 16},
    "ppnet": {
        "tower": {"hidden": [64, 32]}, "gate": {"hidden": [16]},
        "prior_fields": ["user_id", "item_id"], "scenario_dim": 16,
    },
    "pepnet": {
        "epnet": {"hidden": [16]}, "tower": {"hidden": [64, 32]}, "gate": {"hidden": [16]},
        "prior_fields": ["user_id", "item_id"], "scenario_dim": 16,
    },
    "sarnet": {"width": 48, "own": 1, "shared": 3, "hidden": [32]},
    "hmoe": {
        "experts": {**THREE, "hidden": [64, 32]}, "tower": {"hidden": [16]}, "relation": {"hidden": [16]},
        "scenario_dim": 16,
    },
    "ple": {"levels": 2, "own": 1, "shared": 1, "hidden": [40], "tower": {"hidden": [32]}},
    "adasparse": {
        "hidden": [96, 64], "pruner": "fusion", "alpha": 1.0, "beta": 2.0, "epsilon": 0.25, "min_pruned": 0.15,
        "max_pruned": 0.25, "sparsity": 0.01, "scenario_dim": 16,
    },
    "m3oe": {"star": 48, "experts": {"count": 2, "hidden": [32]}, "tower": {"hidden": [32]}},
    "hamur": {"hidden": [96, 48], "rank": 8, "instance": {"hidden": [32]}},
    "m2m": {"experts": {**THREE, "hidden": [48, 16]}, "layers": 1, "trunk": 32, "scenario_dim": 16},
    "apg": {"hidden": [256, 128], "rank": 16, "trunk": 32, "scenario_dim": 16, "condition": "scenario"},
}
# Kept results have to agree with this.
PROTOCOL = {
    "fields": FIELDS, "settings": SETTINGS, "dim": DIM, "init_std": INIT_STD,
    "epochs": EPOCHS, "batch": BATCH_SIZE, "adam": ADAM,
}

# Runs of the first look at all kinds, and of further ones at those that differed in the look before.
LOOKS = [range(1, 6), range(6, 16), range(16, 36)]


def seeds(kind, look):
    """Of the runs of a kind, whose number from 0 is the hundreds."""
    return [100 * list(SETTINGS).index(kind) + run for run in look]
