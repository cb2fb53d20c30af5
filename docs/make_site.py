"""Lays the pages of the repository into the site that mkdocs makes (``mkdocs.yml`` calls it).

In the site everything lies where it lies in the repository, so that the links of the pages hold as they are.
A file or a folder outside docs/ to which a page leads gets a page too, with its text or with what lies in it,
so that the site is whole without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/*.md",
    "results/*.md",
    "benchmarks/README.md",
)
# what pages load
LOADED = ("docs/stages.svg", "results/overview.svg", "docs/iframe-worker.js", "docs/site.css")
# files that are shown in colours; others are there to be saved
LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".cff": "yaml"}
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")


class SourcePage(File):
    """A page about a file or a folder that is no Markdown, at the place of that file or folder."""

    def is_documentation_page(self) -> bool:
        """Whether it is rendered, which mkdocs tells from the ending of a name otherwise."""
        return True


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Gives headings the anchors that GitHub gives them.

    Args:
        config: the configuration of mkdocs.
    """
    config.mdx_configs["toc"]["slugify"] = anchor
    return config


def anchor(heading: str, separator: str) -> str:
    """The anchor of a heading.

    Args:
        heading: its text.
        separator: what stands in the place of a space.
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What the site is made of: the theme's files, the pages, and the sources to which they lead.

    Args:
        files: what mkdocs has found, in docs/ and in the theme.
        config: the configuration of mkdocs.
    """
    kept = Files([file for file in files if file.src_dir != config.docs_dir])
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    for path in (*pages, *(ROOT / name for name in LOADED)):
        kept.append(File.generated(config, name_of(path), abs_src_path=str(path)))
    for path in sorted({target for page in pages for target in targets(page)}):
        for file in inside(path) if path.is_dir() else [path]:
            if not kept.get_file_from_path(name_of(file)):
                kept.append(source(file, config))
        if path.is_dir():
            kept.append(source_page(path, listing(path), config))
    return kept


def name_of(path: Path) -> str:
    """How a file is called in the repository and in the site.

    Args:
        path: the file.
    """
    return path.relative_to(ROOT).as_posix()


def targets(page: Path) -> Iterator[Path]:
    """The files and folders of the repository to which a page leads.

    Args:
        page: a file of Markdown.
    """
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve()
        # what leads nowhere is mkdocs' to tell
        if path.exists() and ROOT in path.parents:
            yield path


def source(path: Path, config: MkDocsConfig) -> File:
    """A file that is no page of the documentation, as a page if it can be read as one.

    Args:
        path: the file.
        config: the configuration of mkdocs.
    """
    if path.suffix not in LANGUAGES:
        return File.generated(config, name_of(path), abs_src_path=str(path))
    fence = "~" * 10
    text = f"{fence}{LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8')}\n{fence}"
    return source_page(path, text, config)


def inside(folder: Path) -> list[Path]:
    """The files in a folder and in those within it.

    Args:
        folder: the folder.
    """
    return sorted(path for path in folder.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts)


def listing(folder: Path) -> str:
    """What lies in a folder, with links.

    Args:
        folder: the folder.
    """
    names = [path.relative_to(folder).as_posix() for path in inside(folder)]
    return "\n".join(f"* [{name}]({folder.name}/{name})" for name in names)


def source_page(path: Path, text: str, config: MkDocsConfig) -> File:
    """A page that no menu has and no search finds.

    Args:
        path: the file or folder that it is about.
        text: what it says, in Markdown.
        config: the configuration of mkdocs.
    """
    content = f"---\nsearch:\n  exclude: true\n---\n\n# `{name_of(path)}`\n\n{text}\n"
    place = {"dest_dir": config.site_dir, "use_directory_urls": config.use_directory_urls}
    page = SourcePage(name_of(path), src_dir=None, inclusion=InclusionLevel.NOT_IN_NAV, **place)
    page.dest_uri = f"{page.src_uri}.html"
    page.generated_by = config.plugins._current_plugin
    page.content_string = content
    return page
