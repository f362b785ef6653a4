"""The parts that the dashboards are made of: a panel always has a title, a description, a unit and its queries."""
import dataclasses

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as looks, dashboard as model
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

# Chosen at the top of a dashboard, so that it works with whatever the data source is called.
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"


@dataclasses.dataclass
class Query:
    expr: str
    legend: str = ""
    # The value now, or none. Over time, a large value is the last one there was: right for a job that has ended,
    # wrong for what should be alive.
    instant: bool = False

    def target(self, ref_id, table_format):
        target = prometheus.Dataquery().expr(self.expr).datasource(SOURCE).ref_id(ref_id).legend_format(self.legend)
        target.format(PromQueryFormat.TABLE if table_format else PromQueryFormat.TIME_SERIES)
        return target.instant() if self.instant else target.range()


def steps(first, *others):
    """Thresholds: a colour, then (value, colour) from where each begins."""
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(
        [model.Threshold(value=value, color=color) for value, color in [(None, first), *others]])


def names(values):
    """Mappings that show numbers as words: {1: ("STEADY", GREEN)}."""
    return [model.ValueMap(options={str(value): model.ValueMappingResult(text=text, color=color, index=index)
                                    for index, (value, (text, color)) in enumerate(values.items())})]


def shown(unit=None, thresholds=None, mappings=None):
    """How one series of a panel is shown when it differs from the others; for override_by_name."""
    given = {"unit": unit, "thresholds": thresholds and thresholds.build(), "mappings": mappings}
    return [model.DynamicConfigValue(id_val=name, value=value) for name, value in given.items() if value is not None]


def _dress(panel, title, description, unit, queries, width, height, table_format=False):
    panel.title(title).description(description).unit(unit).datasource(SOURCE).span(width).height(height)
    for number, query in enumerate(queries):
        panel.with_target(query.target(chr(ord("A") + number), table_format))
    return panel


def answer(title, description, unit, queries, thresholds, width=5, height=5, mappings=(), empty="no data",
           decimals=None, spark=True):
    """One large value in the colour of its state: what is read from across the room."""
    panel = _dress(stat.Panel(), title, description, unit, queries, width, height)
    panel.thresholds(thresholds).mappings(list(mappings)).no_value(empty)
    panel.color_mode(looks.BigValueColorMode.BACKGROUND_SOLID)
    panel.graph_mode(looks.BigValueGraphMode.AREA if spark else looks.BigValueGraphMode.NONE)
    panel.text_mode(looks.BigValueTextMode.VALUE if len(queries) == 1 else looks.BigValueTextMode.VALUE_AND_NAME)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    return panel if decimals is None else panel.decimals(decimals)


def graph(title, description, unit, queries, width=12, height=8, thresholds=None, log=None, bars=False, stacked=False,
          floor=None, ceiling=None, empty="no data"):
    """Values over time. `log` is the base of the axis; thresholds are drawn as lines."""
    panel = _dress(timeseries.Panel(), title, description, unit, queries, width, height)
    panel.no_value(empty).line_width(1).show_points(looks.VisibilityMode.NEVER).span_nulls(False)
    panel.legend(common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST).show_legend(True)
                 .placement(looks.LegendPlacement.BOTTOM).calcs([]))
    panel.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    panel.thresholds(thresholds or steps(GREEN))
    if thresholds:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    if log:
        panel.scale_distribution(common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(log))
    if bars:
        panel.draw_style(looks.GraphDrawStyle.BARS).fill_opacity(80)
    else:
        panel.draw_style(looks.GraphDrawStyle.LINE).fill_opacity(25 if stacked else 0)
    if stacked:
        panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
    if floor is not None:
        panel.min(floor)
    if ceiling is not None:
        panel.max(ceiling)
    return panel


def states(title, description, queries, mappings, width=24, height=5):
    """What was when: one band per query, coloured by the mapped value."""
    panel = _dress(statetimeline.Panel(), title, description, "none", queries, width, height)
    panel.mappings(mappings).thresholds(steps(GREY)).merge_values(True).row_height(0.8).fill_opacity(80)
    panel.show_value(looks.VisibilityMode.AUTO).legend(
        common.VizLegendOptions().display_mode(looks.LegendDisplayMode.LIST).show_legend(False)
        .placement(looks.LegendPlacement.BOTTOM).calcs([]))
    return panel


def rows(title, description, queries, columns, labels, width=24, height=9):
    """A table with a row per combination of labels. `columns` are (heading, unit, thresholds, mappings), one a query;
    `labels` are {label: (heading, link)}."""
    panel = _dress(table.Panel(), title, description, "short", queries, width, height, table_format=True)
    panel.thresholds(steps(GREY)).no_value("none").show_header(True)
    heading = {f"Value #{chr(ord('A') + number)}": column[0] for number, column in enumerate(columns)}
    heading.update({label: text for label, (text, _) in labels.items()})
    order = {name: index for index, name in enumerate([*labels, *list(heading)[:len(columns)]])}
    panel.with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(model.DataTransformerConfig(
        id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": heading}))
    for name, unit, thresholds, mappings in columns:
        panel.override_by_name(name, shown(unit, thresholds, mappings) + [
            model.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"})])
    for text, link in labels.values():
        if link:
            panel.override_by_name(text, [
                model.DynamicConfigValue(id_val="links", value=[{"title": "Open", "url": link}])])
    return panel


class _Annotation(model.AnnotationQuery):
    """With the texts of Prometheus' annotations, which the library's own has no fields for."""

    texts: dict

    def to_json(self):
        return {**super().to_json(), **self.texts}


class Annotation(build.AnnotationQuery):
    """Marks where `expr` is above zero."""

    def __init__(self, name, expr, color, title):
        super().__init__()
        self._internal = _Annotation()
        self._internal.texts = {"titleFormat": title, "textFormat": "", "step": "15s"}
        self.name(name).expr(expr).datasource(SOURCE).enable(True).hide(False).icon_color(color)


def chosen(name, label, query, multi=False, newest_first=False):
    """A variable whose values are those of a label."""
    variable = build.QueryVariable(name).label(label).datasource(SOURCE)
    variable.query({"qryType": 1, "query": query, "refId": f"variable-{name}"})
    # With the time range, so that a job that has ended is found where it ran.
    variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.sort(model.VariableSort.ALPHABETICAL_DESC if newest_first else model.VariableSort.ALPHABETICAL_ASC)
    if multi:
        variable.multi(True).include_all(True).all_value(".*")
        variable.current(model.VariableOption(selected=True, text="All", value="$__all"))
    return variable


def board(uid, title, description, since, others):
    """An empty dashboard that links to its sisters: {uid: title}."""
    made = build.Dashboard(title).uid(uid).description(description).tags(["mantissa"]).time(f"now-{since}", "now")
    made.refresh("10s").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR).editable()
    made.with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    for other, text in others.items():
        made.link(build.DashboardLink(text).type(model.DashboardLinkType.LINK).url(f"/d/{other}").keep_time(True))
    return made


def row(title):
    return build.Row(title)
