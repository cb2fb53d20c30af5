"use strict";
(() => {
  document.documentElement.classList.add("js");
  const pickers = Array.from(document.querySelectorAll("select[data-picker]"));
  const chosen = (name) => pickers.find((one) => one.dataset.picker === name)?.value ?? "0";
  const names = (node) => node.dataset.pickers.split(" ").filter(Boolean);

  const show = (node) => {
    const key = names(node).map(chosen).join("-");
    for (const variant of node.children) variant.hidden = variant.dataset.key !== key;
  };
  const showAll = () => document.querySelectorAll("[data-pickers]").forEach(show);

  for (const one of pickers) one.addEventListener("change", showAll);

  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => {
      const pressed = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(pressed));
      for (const series of button.closest("section").querySelectorAll("figure .series")) {
        if (series.dataset.series === button.dataset.series) series.classList.toggle("off", !pressed);
      }
    });
  }

  // the numbers of a place, beside the pointer or the finger; where no script runs, titles say them
  const told = document.getElementById("told");
  const texts = new Map();
  for (const title of document.querySelectorAll(".place title")) {
    texts.set(title.parentNode, title.textContent);
    title.remove();
  }
  const tell = (event) => {
    const text = texts.get(event.target);
    told.hidden = text === undefined;
    if (told.hidden) return;
    told.textContent = text;
    const { innerWidth, innerHeight } = window;
    const left = event.clientX + 14 + told.offsetWidth < innerWidth ? event.clientX + 14 : event.clientX - 14 - told.offsetWidth;
    const top = Math.min(event.clientY + 14, innerHeight - told.offsetHeight - 4);
    told.style.left = `${Math.max(4, left)}px`;
    told.style.top = `${Math.max(4, top)}px`;
  };
  document.addEventListener("pointermove", tell);
  document.addEventListener("pointerdown", tell);
  document.addEventListener("scroll", () => { told.hidden = true; }, { passive: true });

  // a browser may have kept choices over a reload
  showAll();
})();
