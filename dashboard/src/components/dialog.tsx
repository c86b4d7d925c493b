// A modal dialog on <dialog>: the browser keeps the focus inside and closes on Escape.
import { type FormEvent, type ReactNode, useEffect, useId, useRef, useState } from "react";
import { errorText } from "../lib/errors";
import { Problem } from "./parts";

interface DialogProps {
  title: string;
  children: ReactNode;
  action: string; // label of the button that does it
  busy: string; // its label while it is done
  danger?: boolean;
  disabled?: boolean;
  onClose: () => void;
  onAction: () => Promise<void>;
}

export function Dialog({ title, children, action, busy, danger, disabled, onClose, onAction }: DialogProps) {
  const ref = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  const [working, setWorking] = useState(false);
  const [problem, setProblem] = useState<string>();

  useEffect(() => {
    const dialog = ref.current!;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) {
        before.focus();
      }
    };
  }, []);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (working || disabled) {
      return;
    }
    setWorking(true);
    setProblem(undefined);
    try {
      await onAction();
      onClose();
    } catch (error) {
      setProblem(errorText(error));
      setWorking(false);
    }
  };

  return (
    <dialog
      ref={ref}
      className="dialog"
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onMouseDown={(event) => {
        if (event.target === ref.current) {
          onClose();
        }
      }}
    >
      <form className="dialog-body" onSubmit={submit} method="dialog">
        <h2 id={titleId}>{title}</h2>
        {children}
        {problem && <Problem text={problem} />}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>Cancel</button>
          <button type="submit" className={danger ? "button danger" : "button primary"} disabled={working || disabled}>
            {working ? busy : action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
