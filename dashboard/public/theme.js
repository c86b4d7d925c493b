// Before the first paint: the theme the person chose, if any.
try {
  var theme = localStorage.getItem("gitpod.theme");
  if (theme === "light" || theme === "dark") {
    document.documentElement.dataset.theme = theme;
  }
} catch (error) {
  // Storage is refused: the system's theme is used.
}
