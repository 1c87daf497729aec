// Excerpts in the search results come from the article alone, not from the buttons and the contents around it.
if (typeof Search !== "undefined") {
  const fromPage = Search.htmlToText;
  Search.htmlToText = (html, anchor) => {
    const article = new DOMParser().parseFromString(html, "text/html").querySelector("article");
    return fromPage(article ? `<div role="main">${article.innerHTML}</div>` : html, anchor);
  };
}
