"""Write a run's page anew, from what its folder holds: python report.py runs/NAME

train.py writes report.html itself, after each stage and while a network is trained. With --hints it is another page,
hints.html: the least certain images of the training list, to click on (docs/hints.md).
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
from pathlib import Path

from evaluation.report_gallery import write_hints_page
from evaluation.report_page import write_report_page
from evaluation.stages import pipeline
from stages.config import load_config
from stages.files import REPORT_PAGE
from utils.errors import UserError, run_script, script_parser
from utils.run import RUN_SETTINGS, Run


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("run", type=Path, metavar="FOLDER", help="a run folder, such as runs/demo")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, such as data.root=FOLDER")
    add("--hints", action="store_true", help="write hints.html, on which a person gives hints")
    args = parser.parse_args()
    if any(line.startswith("data.hints=") for line in args.set):
        what = "--set data.hints is for train.py, which makes again what depends on hints"
        raise UserError(f"{what}; the page shows what was made: leave it out")
    if not (args.run / "run.json").is_file():
        raise UserError(f"{args.run} is no run folder: it has no run.json; expected a folder that train.py wrote")
    cfg = load_config(args.run / RUN_SETTINGS, overrides=args.set)
    run = Run.reopen(args.run)
    if args.hints:
        print(f"see {write_hints_page(cfg, run)}")
        return
    write_report_page(pipeline(), cfg, run, data=cfg)
    print(f"see {args.run / REPORT_PAGE}")


if __name__ == "__main__":
    sys.exit(run_script(main))
