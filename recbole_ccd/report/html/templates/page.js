"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const pickers = Array.from(document.querySelectorAll("select[data-picker]"));
  const plots = Array.from(document.querySelectorAll(".plot"));
  const options = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]] };

  const chosen = (name) => pickers.find((one) => one.dataset.picker === name)?.value ?? "0";
  const names = (node) => node.dataset.pickers.split(" ").filter(Boolean);
  const keyOf = (node) => names(node).map(chosen).join("-");

  const hiddenIn = (node) => {
    const off = node.closest("section").querySelectorAll('.legend button[aria-pressed="false"]');
    return new Set(Array.from(off, (button) => button.dataset.series));
  };

  const draw = (node) => {
    const { data, layout } = figures[node.id][keyOf(node)];
    const hidden = hiddenIn(node);
    const traces = data.map((trace) => ({ ...trace, visible: !hidden.has(trace.meta) }));
    // plotly writes into what it is given
    Plotly.react(node, structuredClone(traces), structuredClone(layout), options);
  };

  const show = (node) => {
    const key = keyOf(node);
    for (const variant of node.children) variant.hidden = variant.dataset.key !== key;
  };

  for (const one of pickers) {
    one.addEventListener("change", () => {
      const reads = (node) => names(node).includes(one.dataset.picker);
      Array.from(document.querySelectorAll("[data-pickers]:not(.plot)")).filter(reads).forEach(show);
      plots.filter(reads).forEach(draw);
    });
  }

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      Array.from(button.closest("section").querySelectorAll(".plot")).forEach(draw);
    });
  }

  // paper is narrower than most screens, and nothing is drawn again once printing has begun
  const fit = (onPaper) => {
    document.body.classList.toggle("paper", onPaper);
    for (const node of plots) {
      if (onPaper) Plotly.relayout(node, { width: node.clientWidth });
      else {
        // a figure that has been given a width keeps it, however it is drawn again
        Plotly.purge(node);
        draw(node);
      }
    }
  };
  window.addEventListener("beforeprint", () => fit(true));
  window.addEventListener("afterprint", () => fit(false));

  // a browser may have kept choices over a reload
  document.querySelectorAll("[data-pickers]:not(.plot)").forEach(show);
  plots.forEach(draw);
})();
