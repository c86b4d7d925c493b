import { createRoot } from "react-dom/client";
import { App } from "./app";
import { Boundary } from "./components/boundary";
import "./styles.css";

createRoot(document.getElementById("root")!).render(
  <Boundary>
    <App />
  </Boundary>,
);
