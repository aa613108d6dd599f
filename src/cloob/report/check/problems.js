// What a reader of this page cannot see: a list of sentences. `width` is that of the window in CSS pixels.
async (width) => {
  const problems = [];
  const name = (element) => {
    const id = element.id ? `#${element.id}` : "";
    const classes = typeof element.className === "string" ? element.className.trim().split(/\s+/) : [];
    const label = element.tagName.toLowerCase() + id + classes.filter(Boolean).slice(0, 3).map((c) => `.${c}`).join("");
    const text = (element.textContent || "").trim().replace(/\s+/g, " ").slice(0, 40);
    return text ? `${label} "${text}"` : label;
  };
  const page = document.scrollingElement || document.documentElement;
  if (page.scrollWidth > width + 1) {
    problems.push(`the page is ${page.scrollWidth} pixels wide`);
  }
  for (const element of document.body.querySelectorAll("*")) {
    // Content that needs a horizontal scroll bar, or is cut off. Elements for screen readers are 1 pixel wide.
    const hides = ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(element).overflowX);
    if (hides && element.clientWidth > 1 && element.scrollWidth > element.clientWidth + 1) {
      problems.push(`${element.scrollWidth} pixels in ${element.clientWidth}: ${name(element)}`);
    }
  }
  for (const element of document.querySelectorAll(".system-message")) {
    problems.push(`error of reStructuredText: ${element.textContent.trim().replace(/\s+/g, " ").slice(0, 100)}`);
  }
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  for (const image of document.images) {
    const source = image.currentSrc || image.src;
    if (image.naturalWidth === 0 || image.getBoundingClientRect().width === 0) {
      problems.push(`missing image ${image.alt || (source.startsWith("data:") ? "" : source)}`.trim());
    }
  }
  return problems;
}
