"""Builds the docs site: `./launch.sh docs`, or `python -m docs` with the extra `docs`.

The tutorials are executed; a cell that fails, and each warning, ends the build. What did not change
since the last build is not executed again.
"""

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).parent


def main() -> int:
    """Builds the site; the exit code is not 0 if there was a warning."""
    parser = argparse.ArgumentParser(prog="python -m docs", description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=str(HERE / "_build"), help="folder of the site")
    parser.add_argument("--again", action="store_true", help="reads and executes everything again")
    parser.add_argument("--without_gallery", action="store_true", help="trains no objectives")
    asked = parser.parse_args()
    try:
        from sphinx.cmd import build
    except ImportError:
        print("error: Sphinx is not there: pip install -e '.[docs]', or ./launch.sh docs")
        return 2
    output = pathlib.Path(asked.output).resolve()
    if not asked.without_gallery:
        from docs import gallery
        from vae_jax import objectives

        gallery.make(output / "runs", objectives.names())
    options = ["--fresh-env", "--write-all"] if asked.again else []
    options += ["-d", str(output / "doctrees"), "-D", f"nb_execution_cache_path={output / 'cache'}"]
    places = [str(HERE), str(output / "html")]
    code = build.main(["--fail-on-warning", "--keep-going", *options, *places])
    if code == 0:
        print(f"in {output / 'html' / 'index.html'}: open it in a browser")
    return code


if __name__ == "__main__":
    sys.exit(main())
