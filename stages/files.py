"""The names in a run folder (docs/run_folder.md); a stage knows by them what others have made."""

# Networks.
CLASSIFIER, AFFINITY, SEGMENTER = "classifier.pth", "affinity.pth", "segmenter.pth"
# Folders with a file a picture of the seed list.
SEEDS, CONFIDENT, WALKED, PSEUDO = "seeds", "confident", "walked", "pseudo"
AFFINITY_SHEET = "affinity.jpg"
# Folders of the validation list.
LADDER, WALKED_LADDER, PSEUDO_LADDER, PREDICTIONS = "ladder", "ladder_walked", "ladder_pseudo", "predictions"
# The report: figures, what the page needs beside them, table, examples, and the page.
REPORT, REPORT_PICTURES = "report.json", "report_pictures.json"
REPORT_TABLE, REPORT_SHEET, REPORT_PAGE = "report.txt", "report.jpg", "report.html"
