"""``sessrec`` as a program; also ``python -m sessrec_pipeline``."""

from sessrec_pipeline.stopping import heed_signals


def main() -> None:
    """Run the command that the arguments name; signals are heeded before anything else is imported."""
    heed_signals()
    from sessrec_pipeline.cli import main as commands  # noqa: PLC0415

    commands(prog_name="sessrec")


if __name__ == "__main__":
    main()
