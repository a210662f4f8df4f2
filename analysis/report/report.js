"use strict";
(() => {
  // Tables: each heading becomes a button that sorts by its column.
  for (const table of document.querySelectorAll("table")) {
    const body = table.tBodies[0];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const before = heading.getAttribute("aria-sort");
        const numeric = heading.classList.contains("number");
        const first = numeric ? "descending" : "ascending";
        const other = numeric ? "ascending" : "descending";
        const direction = before === first ? other : first;
        headings.forEach((each) => each.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", direction);
        const sign = direction === "ascending" ? 1 : -1;
        const key = (row) => {
          const cell = row.cells[column];
          if (!numeric) return cell.textContent;
          return "value" in cell.dataset ? Number(cell.dataset.value) : null;
        };
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => {
          if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last
          return sign * (numeric ? a - b : a.localeCompare(b, "en", { numeric: true }));
        });
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  // A page that is made again while a study goes on reloads itself, and its folds and choices stay as they were.
  const folds = [...document.querySelectorAll("details")];
  const choices = [...document.querySelectorAll("select")];
  const left = history.state ?? { open: {}, chosen: {} };
  for (const fold of folds) fold.open = left.open[fold.dataset.fold] ?? fold.open;
  for (const choice of choices) {
    const before = [...choice.options].find((option) => option.text === left.chosen[choice.id]);
    if (before) before.selected = true;
  }
  const seconds = Number(document.body.dataset.reload);
  if (seconds) setTimeout(() => {
    const open = Object.fromEntries(folds.map((fold) => [fold.dataset.fold, fold.open]));
    const chosen = Object.fromEntries(choices.map((choice) => [choice.id, choice.selectedOptions[0].text]));
    history.replaceState({ open, chosen }, "");
    location.reload();
  }, 1000 * seconds);

  // What is compressed; plotly is loaded with the first picture.
  const unpacked = (id) => {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  let plotly = null;
  const loaded = () => (plotly ??= unpacked("plotly").then((code) => {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
  }));

  // Pictures: drawn when they come into view, in the page's colours, and again when those change.
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dressed = (shown, narrow) => {
    const layout = shown.layout;
    const axis = { gridcolor: colour("--line"), zerolinecolor: colour("--line"), linecolor: colour("--line"), automargin: true, exponentformat: "none" };
    const out = { ...layout, template: undefined, autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    out.font = { color: colour("--ink"), size: narrow ? 11 : 12, family: "system-ui, sans-serif" };
    out.hoverlabel = { bgcolor: colour("--paper"), font: { color: colour("--ink") }, align: "left" };
    out.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("--faint"), activecolor: colour("--ink") };
    out.title = undefined;
    out.height = undefined; // the element has it
    const names = shown.data.filter((trace) => trace.name && trace.showlegend !== false).length;
    out.showlegend = names > 1 && names <= (narrow ? 6 : 12); // of more, hovering tells
    out.margin = { ...layout.margin, t: 30, ...(narrow ? { l: 45, r: 8 } : {}) };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) {
        const own = layout[key];
        out[key] = { ...own, ...axis };
        if (own.title) out[key].title = { ...own.title, standoff: 12 }; // clear of the ticks' words
        if (own.minor) out[key].minor = { ...own.minor, gridcolor: colour("--line") };
        if (narrow && key[0] === "x" && own.type === "category") out[key].tickangle = 90;
      }
    }
    return out;
  };
  const panels = [...document.querySelectorAll("figure[data-panel]")].map((figure) => {
    const id = figure.dataset.panel;
    const plot = document.getElementById(id);
    const choice = document.getElementById(id + "-choice");
    let figures = null;
    const draw = async () => {
      figures ??= JSON.parse(await unpacked(id + "-data"));
      await loaded();
      const shown = figures[choice ? Number(choice.value) : 0];
      const narrow = plot.clientWidth < 500;
      plot.style.height = shown.layout.height ? shown.layout.height + "px" : "";
      const traces = narrow ? shown.data.map((t) => ({ ...t, mode: t.mode && t.mode.replace("+text", "") })) : shown.data;
      Plotly.react(plot, traces, dressed(shown, narrow), {
        responsive: true, displaylogo: false, displayModeBar: narrow ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"],
      });
    };
    if (choice) choice.addEventListener("change", draw);
    return { plot, draw, drawn: false };
  });
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const panel = panels.find((each) => each.plot === entry.target);
      if (entry.isIntersecting && !panel.drawn) {
        panel.drawn = true;
        panel.draw();
      }
    }
  }, { rootMargin: "300px" });
  for (const panel of panels) seen.observe(panel.plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const panel of panels) if (panel.drawn) panel.draw();
  });
})();
