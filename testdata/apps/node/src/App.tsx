import { useState } from "react";
import { tides, type Tide } from "./tides";

function Row({ tide }: { tide: Tide }) {
  return (
    <tr>
      <td>{tide.kind === "high" ? "High water" : "Low water"}</td>
      <td>{new Date(tide.time).toISOString().slice(0, 16).replace("T", " ")}</td>
      <td>{tide.height.toFixed(2)} m</td>
    </tr>
  );
}

export function App() {
  const [day, setDay] = useState(0);
  return (
    <main>
      <h1>Tides of the harbour</h1>
      <button onClick={() => setDay(day + 1)}>Next day</button>
      <table>
        <tbody>
          {tides(day).map((tide) => (
            <Row key={tide.time} tide={tide} />
          ))}
        </tbody>
      </table>
    </main>
  );
}
