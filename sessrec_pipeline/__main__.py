"""``sessrec`` as a program; also ``python -m sessrec_pipeline``."""

import sys

from sessrec_pipeline.stopping import heed_signals


def main() -> None:
    """Run the command that the arguments name; signals are heeded before anything else is imported."""
    heed_signals()
    try:
        from sessrec_pipeline.cli import main as commands  # noqa: PLC0415

        commands(prog_name="sessrec")
    except Exception as error:  # of loading it: what a command raises is told by itself
        from sessrec_pipeline.failures import sentence_of  # noqa: PLC0415
        from sessrec_pipeline.text import say  # noqa: PLC0415

        say(f"Error: {sentence_of(error)}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
