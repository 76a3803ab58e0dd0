"""The cases of the panel, what is known of them, and the labels: kept with the scene, checked, planned, written."""

import itertools
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from MedDLExportLib.parameters import options_of


class ExportSession:
    """What the panel's sections share. It touches no widget; ``changed`` tells the panel to look again.

    Args:
        jobPanel: follows the jobs.
        changed: called when cases, facts or labels have changed.
    """

    def __init__(self, jobPanel, changed):
        from meddl_slicer.export_run import JobChain
        from meddl_slicer.export_work import KnownCases

        self._jobPanel = jobPanel
        self._changed = changed
        self._keys = itertools.count(1)
        self._stored = None
        self._existing = None
        self._seen = None
        self._scheme = None
        self._failed = {}
        self.chain = JobChain(jobPanel)
        self.known = KnownCases()
        self.parameters = None
        self.rows = []
        self.scheme = None
        self.isStoring = False
        self.missingPackages = []
        self.review = None
        self.key = None

    # Parameters

    def setParameters(self, parameters):
        """Take the cases of this parameter node; None for none."""
        self.parameters = parameters
        if parameters is None:
            self.rows, self.scheme, self._stored, self._seen = [], None, None, None
            self._failed = {}
            self.known.forget([])
        else:
            self.read()

    def read(self):
        """Take over what the parameter node holds; return whether cases or labels are others than before."""
        from meddl.datasets.scheme_editing import parse_scheme
        from meddl.errors import MedDLError
        from meddl_slicer.export_storage import from_text

        parameters = self.parameters
        text = parameters.cases
        if text != self._stored:
            self._stored = text
            rows = from_text(text, list(parameters.caseNodes))
            self.rows = [row.changed(key=next(self._keys)) for row in rows]
        try:
            self.scheme = parse_scheme(parameters.labels) if parameters.labels else None
        except MedDLError:
            self.scheme = None
        before, self._seen = self._seen, (text, parameters.labels, self.task, self.existingScheme())
        return before != self._seen

    @property
    def task(self):
        """What a model shall learn from the cases."""
        return self.parameters.task.value if self.parameters is not None else "segmentation"

    @property
    def isRunning(self):
        """Whether cases are being looked at or written."""
        return self.chain.isRunning

    # Cases

    def row(self, key):
        """Return the row with this key, or None."""
        return next((row for row in self.rows if row.key == key), None)

    def chosen(self):
        """Return the rows that are to be exported."""
        return [row for row in self.rows if row.included]

    def channels(self):
        """Return the names of all channels."""
        from meddl_slicer.export_cases import channels_of

        return channels_of(self.rows)

    def add(self, rows):
        """Append rows, each under a name of its own."""
        from meddl_slicer.export_cases import unique_names

        rows = unique_names(rows, [row.name for row in self.rows])
        self.replace([*self.rows, *(row.changed(key=next(self._keys)) for row in rows)])

    def remove(self, keys):
        """Take rows out."""
        self.replace([row for row in self.rows if row.key not in keys])

    def edit(self, keys, **values):
        """Change rows; a name that another row has, or none, is not taken."""
        name = values.get("name", "").strip()
        if "name" in values:
            taken = {row.name.casefold() for row in self.rows if row.key not in keys}
            if not name or name.casefold() in taken:
                self._changed()
                return
            values["name"] = name
        self.replace([row.changed(**values) if row.key in keys else row for row in self.rows])

    def renameChannels(self, names):
        """Call the channels so, in this order; a new name gives all cases one image more to choose."""
        before = self.channels()
        rows = []
        for row in self.rows:
            images = {}
            for index, name in enumerate(names):
                old = name if name in before else before[index] if index < len(before) else None
                if old in row.images:
                    images[name] = row.images[old]
                elif name not in before and index >= len(before):
                    images[name] = None
            rows.append(row.changed(images=images or dict(row.images)))
        self.replace(rows)

    def uses(self, node):
        """Tell whether a node is part of a case."""
        return any(row.uses(node) for row in self.rows)

    def replace(self, rows):
        """Have these rows in the place of all."""
        before = {row.key: row for row in self.rows}
        for row in rows:
            old = before.get(row.key, row)
            images = itertools.zip_longest(old.images.values(), row.images.values())
            if old.label is not row.label or any(one is not other for one, other in images):
                self.known.pictures.pop(row.key, None)
        self.rows = rows
        self.known.forget(rows)
        self._store()
        self._changed()

    def _store(self):
        from meddl_slicer.export_storage import to_text

        if self.parameters is None:
            return
        text, nodes = to_text(self.rows)
        self._stored = text
        self.isStoring = True
        try:
            with self.atOnce():
                self.parameters.caseNodes = nodes
                self.parameters.cases = text
        finally:
            self.isStoring = False

    def atOnce(self):
        """Return a context in which all changes of parameters are told as one."""
        return slicer.util.NodeModify(self.parameters.parameterNode)

    # What is known

    def facts(self):
        """Return the facts of the rows to be exported that were looked at, in their order."""
        found = [self.known.facts(row) for row in self.chosen()]
        return [facts for facts in found if facts is not None]

    def problems(self):
        """Return what keeps rows from being exported, by their key."""
        from meddl_slicer.export_cases import missing

        found = dict(self._failed)
        for row in self.chosen():
            lacking = missing(row)
            facts = self.known.facts(row)
            if lacking:
                found[row.key] = _("It still needs {what}.").format(what=lacking)
            elif facts is not None and facts.problems:
                found[row.key] = " ".join(facts.problems)
        return found

    # Labels

    def currentScheme(self):
        """Return the labels: those of the dataset that is there, else as the user has changed them, else as the cases
        propose; None without facts."""
        from meddl.datasets.scheme_editing import completed, propose_scheme

        facts = [one for one in self.facts() if one.structures]
        scheme = self.existingScheme() or self.scheme
        if self.task != "segmentation" or (not facts and scheme is None):
            return None
        if self._scheme is None or self._scheme[0] != (scheme, facts):
            made = completed(scheme, facts) if scheme is not None else propose_scheme(facts)
            self._scheme = ((scheme, facts), made)
        return self._scheme[1]

    def existingScheme(self):
        """Return the labels of the dataset that is in the folder already: cases that are added get the same ones."""
        from meddl.datasets.manifest import MANIFEST, read_manifest
        from meddl.errors import MedDLError

        if self.parameters is None or not self.parameters.folder.strip():
            return None
        root = self.datasetFolder()
        try:
            told = (str(root), (root / MANIFEST).stat().st_mtime_ns)
        except OSError:
            return None
        if self._existing is None or self._existing[0] != told:
            try:
                manifest = read_manifest(root)
            except MedDLError:  # the export itself will say it
                manifest = None
            self._existing = (told, manifest.plan.scheme if manifest is not None else None)
        return self._existing[1]

    def setScheme(self, scheme):
        """Keep the labels as the user has changed them; None goes back to what the cases propose."""
        from meddl.datasets.scheme_editing import scheme_text

        self.scheme = scheme
        self.isStoring = True
        try:
            self.parameters.labels = scheme_text(scheme) if scheme is not None else ""
        finally:
            self.isStoring = False
        self._changed()

    # Work

    def check(self, onFinished, part=(0.0, 1.0)):
        """Look at all rows to be exported of which too little is known, then call ``onFinished(error or None)``."""
        self.chain.run(self.known.look_steps(self._usable()), onFinished, part)
        self._changed()

    def makeWork(self):
        """Return the export of the rows as they are now."""
        from meddl_slicer.export_work import ExportWork

        self._failed = {}
        folder = Path(self.parameters.folder)
        options = options_of(self.parameters)
        scheme = self.scheme if self.task == "segmentation" and self.existingScheme() is None else None
        return ExportWork(self.chosen(), self.known, options, folder, scheme, self.key, self.review)

    def write(self, work, onFinished, part=(0.0, 1.0)):
        """Write what was planned, then call ``onFinished(error or None)``."""
        self.chain.run(work.write_steps(), onFinished, part)
        self._changed()

    def tell(self, work):
        """Show at the cases why they were left out."""
        self._failed = dict(work.failed)
        self._changed()

    def changed(self):
        """Tell the panel to look again."""
        self._changed()

    def datasetFolder(self):
        """Return where the dataset is or will be."""
        from meddl.datasets.formats.known import make_format

        options = options_of(self.parameters)
        return Path(self.parameters.folder) / make_format(options.format).folder(options)

    def _usable(self):
        from meddl_slicer.export_cases import missing

        return [row for row in self.chosen() if not missing(row)]
