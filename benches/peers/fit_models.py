"""Every model kind, trained by OptMSM and by PyTorch on MovieLens-100K with the same protocol: do they end at the same?

    python fit_models.py --data ML100K --optmsm target/release/optmsm --results fit.json [--page models-fit.md]

ML100K has train.csv and test.csv with the columns of examples/ml-100k.toml. Needs torch and numpy.

The PyTorch side is independent of ours: definitions are the transcriptions of tests/fixtures (f32 here, without their
loops over rows), and reading the files, initial values, order of rows, steps and metrics are written in fit/. Each run
begins with a check, in f64 on rows of the data, that the fast forms in use are the transcriptions: logits, penalty,
gradients. `--check` ends there. Our tensors must have the names and shapes of the transcription, our vocabularies the
sizes that are counted here, and our own metrics of a run must be those that are calculated here from its predictions.

A kind passes if means over five seeds differ by at most two standard errors, both in AUC and in log loss. A kind that does
not is looked at again with ten fresh seeds, and if it must be a third time with twenty. Every kind has seeds of its own, since runs of one seed share tables and order
of rows, and what one kind shows would come again in others. `--results` keeps every finished run, so that an interrupted
comparison goes on; the table, in Markdown, goes to standard output, and `--page` writes it with all that made it.
"""

import argparse
from pathlib import Path

import torch

from fit.data import Data
from fit.forms import check
from fit.ours import fit_ours
from fit.page import page
from fit.peer import fit_torch
from fit.protocol import LOOKS, SETTINGS
from fit.results import Results, report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.csv and test.csv")
    parser.add_argument("--optmsm", type=Path, help="the program, a release build")
    parser.add_argument("--results", type=Path, help="JSON file of finished runs, which is made or gone on with")
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="only these")
    parser.add_argument("--page", type=Path, help="Markdown file to write; of all kinds")
    parser.add_argument("--pause-while", type=Path, metavar="FILE", help="begin no run while this file is there")
    parser.add_argument("--check", action="store_true", help="check the fast forms, and end")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(args.data)
    check(data)
    if args.check:
        return
    if not args.optmsm or not args.results:
        parser.error("--optmsm and --results are needed")
    folder, program = args.data.resolve(), args.optmsm.resolve()
    fits = {
        "torch": lambda kind, seed: fit_torch(kind, seed, data),
        "ours": lambda kind, seed: fit_ours(kind, seed, data, folder, program),
    }
    results = Results(args.results)
    kinds = args.kinds
    for look in LOOKS:
        for kind in kinds:
            results.fill(kind, look, fits, data, args.pause_while)
        kinds = [kind for kind in kinds if not results.passes(kind, look)]
    print(report(results, args.kinds))
    if args.page:
        args.page.write_text(page(results, data, program))


if __name__ == "__main__":
    main()
